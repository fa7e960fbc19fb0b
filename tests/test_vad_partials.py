"""Which words of an open utterance are committed, and when and from where the next partial is decoded."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import Hypothesis, Interim, Word
from voicetap.vocabulary import Purpose
from voicetap_vad.partials import MAX_WINDOW, MIN_SPEECH, OVERLAP_S, LocalAgreement, PartialTracker

EARLY, INTERIM = Purpose.EARLY, Purpose.INTERIM
UTTERANCE = UtteranceId("mic", "a1", 1)
WORD_S = 0.5  # how long one takes


def hyp(text: str, end_s: float, start_s: float = 0.0, timed: bool = False, purpose: str = INTERIM) -> Hypothesis:
    """With `timed`, word follows word from the start of the window."""
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


def partials(*hypotheses: Hypothesis) -> list[tuple[str, str]]:
    """Committed and tentative text after each hypothesis."""
    agreement = LocalAgreement(UTTERANCE, 0)
    interims = [agreement.on_hypothesis(each) for each in hypotheses]
    return [_parts(interim) for interim in interims if interim]


def _parts(interim: Interim) -> tuple[str, str]:
    assert interim.text.startswith(interim.committed_text)
    return interim.committed_text, interim.text.removeprefix(interim.committed_text).strip()


def test_words_that_two_hypotheses_in_a_row_agree_on_are_committed():
    assert partials(
        hyp("turn on the night", 1.0),
        hyp("turn on the kitchen", 1.5),
        hyp("turn on the kitchen light", 2),
    ) == [
        ("", "turn on the night"),
        ("turn on the", "kitchen"),
        ("turn on the kitchen", "light"),
    ]


def test_case_and_punctuation_are_no_disagreement_and_the_newer_spelling_counts():
    assert partials(hyp("hello. world is", 1.0), hyp("Hello, world! Is it", 1.5))[-1] == (
        "Hello, world! Is",
        "it",
    )


def test_the_last_word_may_be_truncated_unless_a_pause_follows():
    assert partials(hyp("one two", 1.0), hyp("one two", 1.2))[-1] == ("one", "two")
    assert partials(hyp("one two", 1.0), hyp("one two", 1.2, purpose=EARLY))[-1] == ("one two", "")
    late = hyp("one two", 1.1, timed=True)
    assert partials(hyp("one two", 1.0, timed=True), late)[-1] == ("one", "two"), "it ends at the edge"


def test_committed_words_stay_when_later_hypotheses_differ():
    first, second = hyp("I scream now and", 1.0), hyp("I scream now and then", 1.5)
    assert partials(first, second, hyp("ice cream now and then we", 2.0))[-1] == ("I scream now and then", "we")


def test_a_window_may_start_in_the_middle():
    first, second = hyp("a b c d e f", 3.5, timed=True), hyp("a b c d e f", 4.0, timed=True)
    window = hyp("f g h", 5.0, start_s=2.5, timed=True)
    again = hyp("f g h i", 5.5, start_s=2.5, timed=True)
    assert partials(first, second, window, again)[1:] == [
        ("a b c d e f", ""),
        ("a b c d e f", "g h"),
        ("a b c d e f g h", "i"),
    ]


def test_a_committed_word_repeated_a_little_later_is_not_doubled():
    first, second = hyp("a b c d", 3.0, timed=True), hyp("a b c d", 4.0, timed=True)
    assert partials(first, second, hyp("d e", 5.0, start_s=1.8, timed=True))[-1] == ("a b c d", "e")


def test_a_word_spoken_twice_is_kept_twice():
    first, second = hyp("it is very", 3.0, timed=True), hyp("it is very", 4.0, timed=True)
    assert partials(first, second, hyp("very good", 5.0, start_s=1.5, timed=True))[-1] == (
        "it is very",
        "very good",
    )


def test_words_that_leave_the_window_keep_their_latest_reading():
    first, second = hyp("a b c", 3.0, timed=True), hyp("a x y z", 4.0, timed=True)
    assert partials(first, second, hyp("z q", 9.0, start_s=1.5, timed=True))[-1] == ("a x y z", "q")


def test_empty_and_late_hypotheses_are_ignored():
    agreement = LocalAgreement(UTTERANCE, 0)
    assert agreement.on_hypothesis(hyp("", 1.0)) is None
    assert agreement.on_hypothesis(hyp("one", 2.0)).revision == 2 * 16_000 // 512
    assert agreement.on_hypothesis(hyp("one two", 1.5)) is None
    assert agreement.on_hypothesis(hyp("one two", 2.0)) is None


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
        interims.append(agreement.on_hypothesis(hyp(text, 8 + number / 2, min(start, number) / 2, timed, purpose)))
    interims = [interim for interim in interims if interim]
    assert all(interim.text.startswith(interim.committed_text) for interim in interims)
    for before, after in pairwise(interims):
        assert after.committed_text.startswith(before.committed_text)
        assert after.revision > before.revision


@given(texts, st.integers(2, 5))
def test_an_unchanged_text_is_committed_in_full(text, times):
    last = partials(*(hyp(text, number, purpose=EARLY) for number in range(1, times + 1)))[-1:]
    assert last in ([], [(text, "")])


def test_a_partial_is_due_after_enough_speech_and_then_once_per_period():
    tracker = PartialTracker(UTTERANCE, 0)
    assert [tracker.overdue(position, 1.0) >= 0 for position in (0, MIN_SPEECH - 1, MIN_SPEECH)] == [False, False, True]
    assert tracker.request_partial(20_000) == 0
    assert [tracker.overdue(position, 1.0) for position in (20_000, 36_000, 36_512)] == [-16_000, 0, 512]
    assert tracker.overdue(36_000, 2.0) < 0
    following = PartialTracker(UTTERANCE._replace(number=2), 40_000, previous=tracker)
    assert following.overdue(40_000 + MIN_SPEECH, 1.0) == 0
    assert following.overdue(48_000, 2.0) == 48_000 - 52_000, "the period spans utterances"
    following.request_early((1, 2), 60_000)
    assert following.overdue(76_000, 1.0) == 0, "an early job counts as a partial"


def test_its_window_starts_shortly_before_the_end_of_the_committed_words_and_is_bounded():
    tracker = PartialTracker(UTTERANCE, 0)
    assert tracker.request_partial(MAX_WINDOW) == 0
    assert tracker.overdue(MAX_WINDOW + 512, 0.4) < 0, "without word times the window cannot start later"
    for end_s in (4.0, 5.0):
        tracker.on_hypothesis(hyp("a b c d", end_s, timed=True))
    assert tracker.request_partial(6 * 16_000) == int((2.0 - OVERLAP_S) * 16_000)
    assert tracker.request_partial(20 * 16_000) == 20 * 16_000 - MAX_WINDOW
