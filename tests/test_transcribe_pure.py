"""transcribe's guards, clock and ledger: plain data in, plain data out."""

import math
from dataclasses import replace

import pytest

from voicetap import codec
from voicetap.codec import UtteranceId
from voicetap.links import RESULTS
from voicetap.messages import Committed, Final, Job, JournalHead, Word
from voicetap.settings import TranscribeSettings
from voicetap_transcribe import guards
from voicetap_transcribe.context import Context
from voicetap_transcribe.engine import Result
from voicetap_transcribe.finals import failed_of, final_of, hypothesis_of, on_stream_clock
from voicetap_transcribe.ledger import RESEND_S, Ledger
from voicetap_transcribe.search import Guess, best_guess
from voicetap_transcribe.worker import deadline_s


def job(number: int = 1, seconds: float = 1.0, attempt: int = 1) -> Job:
    samples = int(seconds * 16_000)
    return Job(
        utterance_id=UtteranceId("mic", "ab", number),
        attempt=attempt,
        start_position=160_000,
        end_position=160_000 + samples,
        ended_ns=7,
        wall_ns=8,
        cut_reason="silence",
        pcm=bytes(2 * samples),
        gap_s=0.25,
    )


def draft(purpose: str, number: int = 1, seconds: float = 1.0) -> Job:
    return replace(job(number, seconds), purpose=purpose)


def done(ledger: Ledger, entry: Final, now_s: float) -> None:
    """What was decoded has become this entry."""
    ledger.finish()
    ledger.hold(entry, now_s)


def final(number: int = 1, result: Result | None = None, seconds: float = 1.0) -> Final:
    return final_of(job(number, seconds), result or Result(text="yes"), engine="e", model="m", decode_s=0.1)


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(
        Word(word=text, start_s=0.1 * at, end_s=0.1 * at + 0.1, probability=0.5) for at, text in enumerate(texts)
    )


# ---- guards


def test_plain_speech_passes():
    verdict = guards.judge(Result(text=" turn on the light", words=words(" turn", " on", " the", " light")), 2.0)
    assert (verdict.text, verdict.reason) == ("turn on the light", "")
    assert [word.word for word in verdict.words] == ["turn", "on", "the", "light"]


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "audio_s", "reason"),
    [
        (0.7, -1.1, 5.0, "no_speech"),
        (0.7, -0.9, 5.0, ""),  # sure of its words
        (0.95, -0.6, 5.0, "no_speech"),
        (0.95, -0.4, 5.0, ""),
        (0.5, -1.1, 5.0, ""),
        (0.5, -0.8, 1.0, "no_speech"),  # short sound is judged harder
        (0.5, -0.6, 1.0, ""),
    ],
)
def test_no_speech_takes_both_signs(no_speech_prob, avg_logprob, audio_s, reason):
    verdict = guards.judge(Result(text="left", no_speech_prob=no_speech_prob, avg_logprob=avg_logprob), audio_s)
    assert verdict == guards.Verdict("" if reason else "left", (), reason)


@pytest.mark.parametrize("text", ["", " \n", ".", " ... ♪"])
def test_no_words_are_no_speech(text):
    assert guards.judge(Result(text=text), 1.0) == guards.Verdict("", (), "no_speech")


def test_what_whisper_writes_where_nobody_speaks_takes_more_than_its_word():
    said = Result(text="Thank you.", avg_logprob=-0.2, no_speech_prob=0.1)
    assert guards.judge(said, 5.0).text == "Thank you."
    for doubtful in ({"avg_logprob": -0.6}, {"no_speech_prob": 0.4}):
        assert guards.judge(replace(said, **doubtful), 5.0) == guards.Verdict("", (), "no_speech")
        assert guards.judge(replace(said, text="Thank you, Anna.", **doubtful), 5.0).text


def test_a_loop_is_cut_at_its_first_repeat():
    text = "so " + "thank you. " * 5
    verdict = guards.judge(Result(text=text, words=words(*text.split())), 9.0)
    assert (verdict.text, verdict.reason) == ("so thank you.", "repetition")
    assert [word.word for word in verdict.words] == ["so", "thank", "you."]


def test_a_text_without_end_is_no_text():
    text = "".join(chr(0x4E00 + at * 7919 % 20_000) for at in range(3000))
    assert guards.judge(Result(text=text, words=words(*text)), 9.0) == guards.Verdict("", (), "too_many_words")
    assert guards.judge(Result(text=text[:500], words=words(*text[:500])), 9.0).words


def test_whatever_an_engine_says_journal_can_take_it():
    """What it refused would be sent to it for ever."""
    wild = Result(text="yes", words=words(*["y"] * 5000), language="\udcff" + "e" * 5000, avg_logprob=math.nan)
    wide = Result(text="yes", words=words("y" * 2_000_000))
    for result in (wild, wide):
        made = final_of(job(seconds=60.0), result, engine="e" * 9000, model="/models/\udce9", decode_s=0.1)
        assert made.text == "yes" and made.words == ()
        assert codec.decode(codec.encode(made), RESULTS.max_bytes) == made


def test_words_are_cut_by_letters_where_an_engine_splits_them_otherwise():
    verdict = guards.judge(Result(text="to day " * 4, words=words("to d", "ay", " to", " day")), 9.0)
    assert [word.word for word in verdict.words] == ["to d", "ay"]


def test_what_people_do_repeat_stays():
    for text in ("no no no no", "0 0 0 0 0", "bye bye, bye bye, bye", "very very very very good"):
        assert guards.judge(Result(text=text), 5.0).reason == ""


def test_a_loop_of_letters_is_refused():
    assert guards.judge(Result(text="ha" * 100), 9.0) == guards.Verdict("", (), "compression_ratio")


def test_more_words_than_anybody_can_say_are_refused():
    text = " ".join(f"word{number}" for number in range(13))
    assert guards.judge(Result(text=text), 1.0).reason == "too_many_words"
    assert guards.judge(Result(text=text), 2.0).reason == ""


def test_text_cannot_steer_a_terminal():
    assert guards.clean(" a\x1b[31mb\x00\u202ec\u2028d\ud800 ") == "a [31mb c d"
    assert guards.clean("می‌خواهم") == "می‌خواهم"  # its non-joiner is spelling


# ---- search


class Model:
    """Guesses what the test says, and what it was asked."""

    def __init__(self, **guesses: Guess):
        self.guesses, self.asked = guesses, []

    def __call__(self, *, beam_size: int, temperature: float, with_previous: bool) -> Guess:
        name = "warm" if temperature else "wide" if beam_size > 1 else "greedy"
        self.asked.append((name, with_previous))
        return self.guesses[name]


def guess(text: str, avg_logprob: float, no_speech_prob: float = 0.0) -> Guess:
    return Guess([1], text, avg_logprob, no_speech_prob)


GREEDY, WIDE, WARM = ("greedy", True), ("wide", True), ("warm", False)


@pytest.mark.parametrize(
    ("guesses", "beam_size", "asked", "text"),
    [
        ({"greedy": guess("a", -0.3)}, 5, [GREEDY], "a"),
        ({"greedy": guess("a", -0.7), "wide": guess("b", -0.5)}, 5, [GREEDY, WIDE], "b"),
        ({"greedy": guess("a", -0.7), "wide": guess("b", -0.8)}, 5, [GREEDY, WIDE], "a"),
        ({"greedy": guess("a", -0.7)}, 1, [GREEDY], "a"),
        ({"greedy": guess("a", -1.2), "warm": guess("b", -0.9)}, 1, [GREEDY, WARM], "b"),
        ({"greedy": guess("a", -1.2, no_speech_prob=0.9)}, 1, [GREEDY], "a"),  # silence is silence however often asked
        ({"greedy": guess("ha" * 99, -0.1), "wide": guess("b", -0.2)}, 5, [GREEDY, WIDE], "b"),
        ({"greedy": guess("ha" * 99, -0.1), "warm": guess("b", -1.5)}, 1, [GREEDY, WARM], "b"),
    ],
)
def test_the_search_widens_where_a_guess_is_not_sure(guesses, beam_size, asked, text):
    model = Model(**guesses)
    assert best_guess(model, beam_size).text == text
    assert model.asked == asked


# ---- clock and entries


def test_words_are_on_the_streams_clock_inside_the_utterance_in_order():
    heard = (
        Word(word="a", start_s=-0.4, end_s=0.1, probability=1.2),
        Word(word="b", start_s=0.05, end_s=0.02, probability=math.nan),
        Word(word="c", start_s=math.inf, end_s=31.0, probability=0.5),
    )
    placed = on_stream_clock(heard, 10.0, 12.0)
    assert [(word.start_s, word.end_s) for word in placed] == [(10.0, 10.1), (10.1, 10.1), (10.1, 12.0)]
    assert [word.probability for word in placed] == [1.0, 0.0, 0.5]


def test_a_final_carries_everything_and_travels():
    heard = Result(text="yes", language="en", avg_logprob=-math.inf, words=words("yes"))
    entry = final(result=heard)
    assert (entry.source, entry.start_s, entry.end_s, entry.gap_s, entry.attempt) == ("mic", 10.0, 11.0, 0.25, 1)
    assert (entry.ended_ns, entry.wall_ns, entry.cut_reason, entry.engine, entry.model) == (7, 8, "silence", "e", "m")
    assert codec.decode(codec.encode(entry)) == entry


def test_a_hypothesis_is_judged_and_timed_as_a_final_is():
    heard = Result(text="thank you " * 5, avg_logprob=math.nan, words=words("thank", "you"))
    made = hypothesis_of(draft("early"), heard, worker="transcribe-1", boot_id="b", engine="e", model="m", decode_s=0.1)
    assert (made.text, made.reason, made.purpose) == ("thank you", "repetition", "early")
    assert (made.start_position, made.end_position, made.words[0].start_s, made.avg_logprob) == (
        160_000,
        176_000,
        10,
        0,
    )
    assert codec.decode(codec.encode(made)) == made


def test_a_failed_entry_is_one_clean_line():
    entry = failed_of(job(), "decode_error", "ValueError: bad\nsound")
    assert (entry.reason, entry.detail, entry.start_s, entry.end_s) == ("decode_error", "ValueError: bad sound", 10, 11)


def test_deadline_grows_with_the_sound():
    settings = TranscribeSettings(deadline_min_s=5.0, deadline_factor=2.0)
    assert deadline_s(job(seconds=1.0), settings) == 5.0
    assert deadline_s(job(seconds=4.0), settings) == 8.0


# ---- context


def said(text: str, end_s: float, number: int = 1, **more: object) -> tuple[Job, Final]:
    """An utterance of one second, and what was heard."""
    named = {"cut_reason": "silence", "avg_logprob": -0.2, "reason": ""} | more
    cut = replace(
        job(number),
        start_position=int(16_000 * (end_s - 1)),
        end_position=int(16_000 * end_s),
        cut_reason=named["cut_reason"],
    )
    heard = Result(text=text, words=words(*text.split()), avg_logprob=named["avg_logprob"])
    made = final_of(cut, heard, engine="e", model="m", decode_s=0.1)
    step_s = 1 / max(1, len(made.words))  # evenly, from one end to the other
    spread = (
        replace(word, start_s=end_s - 1 + at * step_s, end_s=end_s - 1 + (at + 1) * step_s)
        for at, word in enumerate(made.words)
    )
    return cut, replace(made, words=tuple(spread), reason=named["reason"])


@pytest.mark.parametrize(
    ("before", "gap_s", "carried"),
    [
        ({}, 1.4, True),
        ({}, 1.6, False),
        ({"avg_logprob": -0.8}, 0.5, False),  # its mistakes would be carried on
        ({"reason": "repetition"}, 0.5, False),
        ({"avg_logprob": -0.8, "cut_reason": "hard_limit"}, 0.0, True),  # the same sentence
        ({"avg_logprob": -0.8, "cut_reason": "hard_limit"}, 0.5, False),
        ({"number": 3}, 0.5, False),  # said later
    ],
)
def test_what_was_said_is_carried_over_a_short_gap_when_it_was_clear(before, gap_s, carried):
    context = Context(1.5)
    context.note(*said("turn on the light", 10.0, **before))
    following, _ = said("and the heater", 11.0 + gap_s, number=2)
    assert context.previous_text(following) == ("turn on the light" if carried else "")


def test_nothing_is_carried_from_another_stream_or_source_or_into_a_loop():
    context = Context(1.5)
    assert context.previous_text(job(2)) == ""
    context.note(*said("yes", 10.0))
    following, _ = said("no", 11.2, number=2)
    for other in (UtteranceId("mic", "cd", 2), UtteranceId("hall", "ab", 2)):
        assert context.previous_text(replace(following, utterance_id=other)) == ""
    context.note(*said("yes", 11.2, number=2))  # again
    assert context.previous_text(said("no", 12.4, number=3)[0]) == ""


def test_only_the_last_words_are_carried():
    context = Context(1.5)
    cut, heard = said("yes", 10.0)
    context.note(cut, replace(heard, text=" ".join(map(str, range(100)))))
    assert context.previous_text(said("x", 11.2, number=2)[0]).split() == [str(number) for number in range(68, 100)]


@pytest.mark.parametrize(
    ("before", "cut_reason", "gap_s", "kept"),
    [
        ("in the Kitchen,", "hard_limit", 0.0, "light"),
        ("in the bathroom", "hard_limit", 0.0, "kitchen light"),
        ("in the kitchen", "soft_limit", 0.0, "kitchen light"),  # at a breath, so it was said twice
        ("in the kitchen", "hard_limit", 0.5, "kitchen light"),
    ],
)
def test_a_word_that_the_cut_went_through_is_published_once(before, cut_reason, gap_s, kept):
    context = Context(1.5)
    context.note(*said(before, 10.0, cut_reason=cut_reason))
    mended = context.mended(*said("kitchen light", 11.0 + gap_s, number=2))
    assert mended.text == " ".join(word.word for word in mended.words) == kept


def test_where_nothing_but_the_doubled_word_is_left_it_says_why():
    context = Context(1.5)
    context.note(*said("in the kitchen", 10.0, cut_reason="hard_limit"))
    mended = context.mended(*said("kitchen", 11.0, number=2))
    assert (mended.text, mended.reason) == ("", "repetition")


# ---- ledger


def test_a_decode_is_owed_until_somebody_has_an_entry_for_it():
    ledger = Ledger()
    assert not ledger.is_owing
    ledger.receive(job())
    ledger.start()
    assert ledger.is_owing and ledger.results == ()
    ledger.hear(Committed(utterance_id=job().utterance_id, journal_seq=1))  # vad has given it up
    assert ledger.decoding and not ledger.is_owing


def test_one_job_at_a_time_and_all_are_held():
    ledger = Ledger()
    ledger.receive(job(1))
    ledger.receive(job(2))
    assert ledger.start() == job(1) and ledger.start() is None
    assert ledger.received == 2 and set(ledger.holding) == {job(1).utterance_id, job(2).utterance_id}
    done(ledger, final(1), 0.0)
    assert ledger.start() == job(2)
    assert set(ledger.holding) == {job(1).utterance_id, job(2).utterance_id}


def test_a_result_is_sent_again_until_it_is_committed():
    ledger = Ledger()
    ledger.receive(job())
    ledger.start()
    done(ledger, final(), 10.0)
    assert ledger.due(10.0) == [final()]
    assert ledger.due(10.0 + RESEND_S / 2) == []
    assert ledger.due(10.0 + RESEND_S) == [final()]
    ledger.hear(Committed(utterance_id=job().utterance_id, journal_seq=1))
    assert ledger.due(20.0) == [] and ledger.holding == ()


@pytest.mark.parametrize("stage", ["waiting", "decoding", "held"])
def test_the_same_job_again_is_only_counted(stage):
    ledger = Ledger()
    ledger.receive(job())
    if stage != "waiting":
        ledger.start()
    if stage == "held":
        done(ledger, final(), 0.0)
    ledger.receive(job(attempt=2))
    assert ledger.received == 2 and ledger.holding == (job().utterance_id,)


def test_what_journal_has_is_not_decoded_again():
    ledger = Ledger()
    ledger.hear(JournalHead(journal_id="j", first_seq=1, next_seq=6, committed=(UtteranceId("mic", "ab", 5),)))
    ledger.hear(Committed(utterance_id=UtteranceId("mic", "ab", 7), journal_seq=6))
    for number in (5, 6, 7):
        ledger.receive(job(number))
    assert ledger.received == 3 and ledger.holding == (UtteranceId("mic", "ab", 6),)


def test_a_lost_committed_is_made_good_by_the_head():
    ledger = Ledger()
    ledger.receive(job())
    ledger.start()
    done(ledger, final(), 0.0)
    ledger.hear(JournalHead(journal_id="j", first_seq=1, next_seq=2, committed=(UtteranceId("mic", "other", 9),)))
    assert ledger.holding
    ledger.hear(JournalHead(journal_id="j", first_seq=1, next_seq=2, committed=(job().utterance_id,)))
    assert ledger.holding == ()


def test_committed_while_it_waits_or_is_decoded():
    ledger = Ledger()
    ledger.receive(job(1))
    ledger.receive(job(2))
    ledger.start()
    for number in (1, 2):
        ledger.hear(Committed(utterance_id=job(number).utterance_id, journal_seq=number))
    assert ledger.holding == (job(1).utterance_id,)
    done(ledger, final(1), 0.0)
    assert ledger.due(9.0) == [] and ledger.start() is None


def test_another_journal_has_committed_nothing():
    ledger = Ledger()
    ledger.hear(JournalHead(journal_id="a", first_seq=1, next_seq=1))
    ledger.hear(Committed(utterance_id=job().utterance_id, journal_seq=1))
    ledger.hear(JournalHead(journal_id="b", first_seq=1, next_seq=1))
    ledger.receive(job())
    assert ledger.start() == job()


# ---- drafts: early and interim jobs


def heard_early(ledger: Ledger, number: int = 1, seconds: float = 1.0, text: str = "yes") -> Job:
    """An early job comes and is decoded."""
    early = draft("early", number, seconds)
    ledger.receive(early)
    assert ledger.start() == early
    ledger.remember(ledger.finish(), Result(text=text), 0.1)
    return early


def test_finals_go_first_then_early_ones_then_interims():
    ledger = Ledger()
    for each in (interim := draft("interim", 2), early := draft("early", 3), job(4)):
        ledger.receive(each)
    assert ledger.received == 3
    started = []
    while next_ := ledger.start():
        started.append(next_)
        ledger.finish()
    assert started == [job(4), early, interim]


@pytest.mark.parametrize("purpose", ["early", "interim"])
def test_a_draft_is_never_owed(purpose):
    ledger = Ledger()
    ledger.receive(draft(purpose))
    assert ledger.holding == ()
    assert ledger.start() == draft(purpose) == ledger.decoding
    assert ledger.holding == () and not ledger.is_owing


def test_of_an_utterance_only_the_newest_draft_waits():
    ledger = Ledger()
    for each in (draft("interim"), draft("early"), newest := draft("interim", seconds=2.0)):
        ledger.receive(each)
    assert ledger.start() == newest
    ledger.finish()
    assert ledger.start() is None


def test_a_final_of_what_was_heard_early_needs_no_decode():
    ledger = Ledger()
    heard_early(ledger)
    ledger.receive(draft("interim", 5))
    ledger.start()  # and does not wait for this
    ledger.receive(job())
    ((recalled, heard),) = ledger.recall()
    assert (recalled, heard.result.text, heard.decode_s) == (job(), "yes", 0.1)
    assert ledger.recall() == []
    ledger.hold(final(), 0.0)
    assert ledger.due(0.0) == [final()]


@pytest.mark.parametrize(
    ("heard_s", "meanwhile"),
    [
        (2.0, []),  # other sound
        (1.0, [draft("early", seconds=3.0)]),  # a newer guess at the end
        (1.0, [Committed(utterance_id=UtteranceId("mic", "ab", 1), journal_seq=1)]),
    ],
)
def test_what_was_heard_early_is_for_the_very_cut_only(heard_s, meanwhile):
    ledger = Ledger()
    heard_early(ledger, seconds=heard_s)
    for each in meanwhile:
        ledger.receive(each) if isinstance(each, Job) else ledger.hear(each)
    ledger.receive(job())
    assert ledger.recall() == []


def test_of_a_source_only_the_newest_early_result_is_kept():
    ledger = Ledger()
    for number in (1, 2):
        heard_early(ledger, number)
    for number in (1, 2):
        ledger.receive(job(number))
    assert [recalled for recalled, _ in ledger.recall()] == [job(2)]


def test_a_final_of_what_is_being_heard_early_is_owed_from_then_on():
    ledger = Ledger()
    ledger.receive(draft("early"))
    ledger.start()
    ledger.receive(job())
    assert ledger.holding == (job().utterance_id,) and ledger.is_owing
    assert ledger.finish() == job() and ledger.start() is None


def test_a_final_makes_the_drafts_of_its_utterance_useless():
    ledger = Ledger()
    ledger.receive(draft("interim"))
    ledger.receive(job())
    ledger.receive(draft("early"))  # from a vad that did not know yet
    assert ledger.start() == job()
    ledger.finish()
    ledger.hold(final(), 0.0)
    assert ledger.start() is None


@pytest.mark.parametrize(
    ("decoded", "waits", "gives_way"),
    [
        ("interim", "final", True),
        ("interim", "early", True),
        ("interim", "interim", False),
        ("early", "final", False),
        ("final", "final", False),
    ],
)
def test_an_interim_gives_way_to_what_is_urgent(decoded, waits, gives_way):
    ledger = Ledger()
    ledger.receive(draft(decoded, 1))
    ledger.start()
    ledger.receive(draft(waits, 2))
    assert ledger.is_pressed == gives_way


def test_a_worker_that_stops_begins_no_draft():
    ledger = Ledger()
    ledger.receive(draft("early"))
    ledger.refuse_waiting()
    assert ledger.start() is None
