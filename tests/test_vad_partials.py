"""What is committed of an utterance that is still open: pure, so that chance can try what it likes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import Hypothesis, Interim, Purpose, Word
from voicetap_vad.partials import MAX_WINDOW, MIN_SPEECH, OVERLAP_S, LocalAgreement, PartialTracker

EARLY, INTERIM = Purpose.EARLY, Purpose.INTERIM
UTTERANCE = UtteranceId("mic", "a1", 1)
WORD_S = 0.5  # how long one takes


def heard(
    text: str, end_s: float, start_s: float = 0.0, timed: bool = False, purpose: str = Purpose.INTERIM
) -> Hypothesis:
    """Timed: word after word from the start of the window."""
    times = [start_s + number * WORD_S for number in range(len(text.split()) + 1)]
    words = tuple(
        Word(word=word, start_s=first_s, end_s=last_s, probability=1.0)
        for word, (first_s, last_s) in zip(text.split(), pairwise(times), strict=True)
    )
    return Hypothesis(
        worker="w1",
        boot_id="b1",
        utterance_id=UTTERANCE,
        purpose=purpose,
        start_position=int(start_s * 16_000),
        end_position=int(end_s * 16_000),
        text=text,
        decode_s=0.1,
        words=words if timed else (),
        engine="coded",
    )


def told(*hypotheses: Hypothesis) -> list[tuple[str, str]]:
    """What is committed and what is tentative, after each of them."""
    agreement = LocalAgreement(UTTERANCE, 0)
    interims = [agreement.on_hypothesis(hypothesis) for hypothesis in hypotheses]
    return [_parts(interim) for interim in interims if interim]


def _parts(interim: Interim) -> tuple[str, str]:
    assert interim.text.startswith(interim.committed_text)
    return interim.committed_text, interim.text.removeprefix(interim.committed_text).strip()


def test_what_two_in_a_row_agree_on_is_committed():
    assert told(
        heard("turn on the night", 1.0), heard("turn on the kitchen", 1.5), heard("turn on the kitchen light", 2)
    ) == [
        ("", "turn on the night"),
        ("turn on the", "kitchen"),
        ("turn on the kitchen", "light"),
    ]


def test_case_and_punctuation_are_no_disagreement_and_the_newer_spelling_counts():
    assert told(heard("hello. world is", 1.0), heard("Hello, world! Is it", 1.5))[-1] == ("Hello, world! Is", "it")


def test_the_last_word_may_be_cut_in_the_middle_but_not_by_a_pause():
    assert told(heard("one two", 1.0), heard("one two", 1.2))[-1] == ("one", "two")
    assert told(heard("one two", 1.0), heard("one two", 1.2, purpose=EARLY))[-1] == ("one two", "")
    late = heard("one two", 1.1, timed=True)
    assert told(heard("one two", 1.0, timed=True), late)[-1] == ("one", "two"), "it ends at the edge"


def test_what_is_committed_stays_when_later_ones_hear_it_otherwise():
    first, second = heard("I scream now and", 1.0), heard("I scream now and then", 1.5)
    assert told(first, second, heard("ice cream now and then we", 2.0))[-1] == ("I scream now and then", "we")


def test_a_window_begins_in_the_middle():
    first, second = heard("a b c d e f", 3.5, timed=True), heard("a b c d e f", 4.0, timed=True)
    window = heard("f g h", 5.0, start_s=2.5, timed=True)
    again = heard("f g h i", 5.5, start_s=2.5, timed=True)
    assert told(first, second, window, again)[1:] == [
        ("a b c d e f", ""),
        ("a b c d e f", "g h"),
        ("a b c d e f g h", "i"),
    ]


def test_the_last_committed_word_heard_again_a_little_later_is_not_doubled():
    first, second = heard("a b c d", 3.0, timed=True), heard("a b c d", 4.0, timed=True)
    assert told(first, second, heard("d e", 5.0, start_s=1.8, timed=True))[-1] == ("a b c d", "e")


def test_a_word_that_is_said_twice_is_two():
    first, second = heard("it is very", 3.0, timed=True), heard("it is very", 4.0, timed=True)
    assert told(first, second, heard("very good", 5.0, start_s=1.5, timed=True))[-1] == ("it is very", "very good")


def test_what_leaves_the_window_stays_as_it_was_heard_last():
    first, second = heard("a b c", 3.0, timed=True), heard("a x y z", 4.0, timed=True)
    assert told(first, second, heard("z q", 9.0, start_s=1.5, timed=True))[-1] == ("a x y z", "q")


def test_silence_and_what_comes_too_late_say_nothing():
    agreement = LocalAgreement(UTTERANCE, 0)
    assert agreement.on_hypothesis(heard("", 1.0)) is None
    assert agreement.on_hypothesis(heard("one", 2.0)).revision == 2 * 16_000 // 512
    assert agreement.on_hypothesis(heard("one two", 1.5)) is None
    assert agreement.on_hypothesis(heard("one two", 2.0)) is None


texts = st.lists(st.sampled_from("a b c A, b. - x".split()), max_size=8).map(" ".join)


@given(
    st.lists(
        st.tuples(texts, st.integers(0, 8), st.booleans(), st.sampled_from([EARLY, INTERIM])),
        max_size=12,
    )
)
def test_committed_text_only_grows_and_revisions_too(hypotheses):
    agreement = LocalAgreement(UTTERANCE, 0)
    interims = []
    for number, (text, start, timed, purpose) in enumerate(hypotheses, 1):
        interims.append(agreement.on_hypothesis(heard(text, 8 + number / 2, min(start, number) / 2, timed, purpose)))
    interims = [interim for interim in interims if interim]
    assert all(interim.text.startswith(interim.committed_text) for interim in interims)
    for before, after in pairwise(interims):
        assert after.committed_text.startswith(before.committed_text)
        assert after.revision > before.revision


@given(texts, st.integers(2, 5))
def test_one_that_is_heard_alike_again_and_again_is_committed_word_by_word(text, times):
    last = told(*(heard(text, number, purpose=EARLY) for number in range(1, times + 1)))[-1:]
    assert last in ([], [(text, "")])


def test_an_interim_is_due_when_enough_was_said_and_then_once_in_a_period():
    tracker = PartialTracker(UTTERANCE, 0)
    assert [tracker.overdue(position, 1.0) >= 0 for position in (0, MIN_SPEECH - 1, MIN_SPEECH)] == [False, False, True]
    assert tracker.request_partial(20_000) == 0
    assert [tracker.overdue(position, 1.0) for position in (20_000, 36_000, 36_512)] == [-16_000, 0, 512]
    assert tracker.overdue(36_000, 2.0) < 0
    following = PartialTracker(UTTERANCE._replace(number=2), 40_000, previous=tracker)
    assert following.overdue(40_000 + MIN_SPEECH, 1.0) == 0
    assert following.overdue(48_000, 2.0) == 48_000 - 52_000, "the share of the workers' time is one over utterances"
    following.request_early((1, 2), 60_000)
    assert following.overdue(76_000, 1.0) == 0, "an early job tells as much as an interim"


def test_its_window_begins_a_little_before_the_end_of_the_committed_words_and_is_bounded():
    tracker = PartialTracker(UTTERANCE, 0)
    assert tracker.request_partial(MAX_WINDOW) == 0
    assert tracker.overdue(MAX_WINDOW + 512, 0.4) < 0, "nobody knows where its words are"
    for end_s in (4.0, 5.0):
        tracker.on_hypothesis(heard("a b c d", end_s, timed=True))
    assert tracker.request_partial(6 * 16_000) == int((2.0 - OVERLAP_S) * 16_000)
    assert tracker.request_partial(20 * 16_000) == 20 * 16_000 - MAX_WINDOW
