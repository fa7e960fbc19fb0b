"""transcribe's entries and hypotheses: the stream's clock, prompts, and words split by a cut."""

import math
from dataclasses import replace

import pytest

from rig.jobs import final, job, speculative, words
from voicetap import codec
from voicetap.codec import UtteranceId
from voicetap.links import RESULTS
from voicetap.messages import Final, Job, Word
from voicetap.settings import TranscribeSettings
from voicetap_transcribe.engines.base import Result
from voicetap_transcribe.results import (
    PreviousFinals,
    build_failed,
    build_final,
    build_hypothesis,
    on_stream_clock,
)
from voicetap_transcribe.worker import deadline_s

# ---- clock and entries


def test_words_are_on_the_streams_clock_inside_the_utterance_in_order():
    words_in = (
        Word(word="a", start_s=-0.4, end_s=0.1, probability=1.2),
        Word(word="b", start_s=0.05, end_s=0.02, probability=math.nan),
        Word(word="c", start_s=math.inf, end_s=31.0, probability=0.5),
    )
    placed = on_stream_clock(words_in, 10.0, 12.0)
    assert [(word.start_s, word.end_s) for word in placed] == [(10.0, 10.1), (10.1, 10.1), (10.1, 12.0)]
    assert [word.probability for word in placed] == [1.0, 0.0, 0.5]


def test_a_final_carries_everything_and_travels():
    result = Result(text="yes", language="en", avg_logprob=-math.inf, words=words("yes"))
    entry = final(result=result)
    assert (entry.source, entry.start_s, entry.end_s, entry.gap_s, entry.attempt) == ("mic", 10.0, 11.0, 0.25, 1)
    assert (entry.ended_ns, entry.wall_ns, entry.cut_reason, entry.engine, entry.model) == (7, 8, "silence", "e", "m")
    assert codec.decode(codec.encode(entry)) == entry


def test_a_hypothesis_is_filtered_and_timed_like_a_final():
    result = Result(text="thank you " * 5, avg_logprob=math.nan, words=words("thank", "you"))
    origin = {"worker": "transcribe-1", "boot_id": "b", "engine": "e", "model": "m"}
    made = build_hypothesis(speculative("early"), result, **origin, decode_s=0.1)
    assert (made.text, made.reason, made.purpose) == ("thank you", "repetition", "early")
    assert (made.start_position, made.end_position, made.words[0].start_s, made.avg_logprob) == (
        160_000,
        176_000,
        10,
        0,
    )
    assert codec.decode(codec.encode(made)) == made


def test_a_failed_entry_is_one_clean_line():
    entry = build_failed(job(), "decode_error", "ValueError: bad\nsound")
    assert (entry.reason, entry.detail, entry.start_s, entry.end_s) == ("decode_error", "ValueError: bad sound", 10, 11)


def test_journal_accepts_whatever_an_engine_returns():
    """What it refused would be sent again forever."""
    wild = Result(text="yes", words=words(*["y"] * 5000), language="\udcff" + "e" * 5000, avg_logprob=math.nan)
    wide = Result(text="yes", words=words("y" * 2_000_000))
    for result in (wild, wide):
        made = build_final(job(seconds=60.0), result, engine="e" * 9000, model="/models/\udce9", decode_s=0.1)
        assert made.text == "yes" and made.words == ()
        assert codec.decode(codec.encode(made), RESULTS.max_bytes) == made


def test_the_deadline_grows_with_the_audio():
    settings = TranscribeSettings(deadline_min_s=5.0, deadline_factor=2.0)
    assert deadline_s(job(seconds=1.0), settings) == 5.0
    assert deadline_s(job(seconds=4.0), settings) == 8.0


# ---- the previous utterance


def decoded(text: str, end_s: float, number: int = 1, **more: object) -> tuple[Job, Final]:
    """A job of one second, and its entry."""
    named = {"cut_reason": "silence", "avg_logprob": -0.2, "reason": ""} | more
    shifted = replace(
        job(number),
        start_position=int(16_000 * (end_s - 1)),
        end_position=int(16_000 * end_s),
        cut_reason=named["cut_reason"],
    )
    result = Result(text=text, words=words(*text.split()), avg_logprob=named["avg_logprob"])
    made = build_final(shifted, result, engine="e", model="m", decode_s=0.1)
    step_s = 1 / max(1, len(made.words))  # evenly, from one end to the other
    spread = (
        replace(word, start_s=end_s - 1 + at * step_s, end_s=end_s - 1 + (at + 1) * step_s)
        for at, word in enumerate(made.words)
    )
    return shifted, replace(made, words=tuple(spread), reason=named["reason"])


@pytest.mark.parametrize(
    ("before", "cut_reason", "gap_s", "kept"),
    [
        ("in the Kitchen,", "hard_limit", 0.0, "light"),
        ("in the bathroom", "hard_limit", 0.0, "kitchen light"),
        ("in the kitchen", "soft_limit", 0.0, "kitchen light"),  # at a pause, so it was said twice
        ("in the kitchen", "hard_limit", 0.5, "kitchen light"),
        ("in the kitchen", "silence", 0.0, "kitchen light"),
    ],
)
def test_a_word_split_by_the_cut_is_published_once(before, cut_reason, gap_s, kept):
    previous = PreviousFinals()
    previous.update(*decoded(before, 10.0, cut_reason=cut_reason))
    kept_entry = previous.drop_repeated_word(*decoded("kitchen light", 11.0 + gap_s, number=2))
    assert kept_entry.text == " ".join(word.word for word in kept_entry.words) == kept


def test_a_word_is_not_dropped_because_of_another_stream_or_source_or_a_later_utterance():
    previous = PreviousFinals()
    following, entry = decoded("kitchen light", 11.0, number=2)
    assert previous.drop_repeated_word(following, entry) == entry
    before, cut = decoded("in the kitchen", 10.0, number=1, cut_reason="hard_limit")
    previous.update(before, cut)
    assert previous.drop_repeated_word(following, entry).text == "light"
    for other in (UtteranceId("mic", "cd", 2), UtteranceId("hall", "ab", 2), UtteranceId("mic", "ab", 1)):
        assert previous.drop_repeated_word(replace(following, utterance_id=other), entry) == entry


def test_an_entry_of_only_the_repeated_word_has_a_reason():
    previous = PreviousFinals()
    previous.update(*decoded("in the kitchen", 10.0, cut_reason="hard_limit"))
    kept_entry = previous.drop_repeated_word(*decoded("kitchen", 11.0, number=2))
    assert (kept_entry.text, kept_entry.reason) == ("", "repetition")
