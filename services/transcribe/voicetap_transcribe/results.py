"""Turns engine results into messages: timed on the stream, filtered, joined to the utterance before. Pure."""

import math
from dataclasses import replace

from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, Failed, Final, Hypothesis, Job, Word
from voicetap.sanitize import MAX_LABEL, sanitize
from voicetap.vocabulary import CutReason, Reason

from .engines.base import Result
from .hallucination_filter import filter_result, normalized

MAX_DETAIL = 500  # characters
SEAM_S = 0.1  # two words within this distance of a cut may be one


def audio_s(job: Job) -> float:
    return len(job.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ


def build_final(job: Job, result: Result, *, engine: str, model: str, decode_s: float) -> Final:
    """The entry of a decoded job."""
    filtered = filter_result(result, audio_s(job))
    start_s, end_s = _span_s(job)
    return Final(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        text=filtered.text,
        reason=filtered.reason,
        words=on_stream_clock(filtered.words, start_s, end_s),
        start_s=start_s,
        end_s=end_s,
        wall_ns=job.wall_ns,
        ended_ns=job.ended_ns,
        cut_reason=job.cut_reason,
        language=_label(result.language),
        language_probability=_finite(result.language_probability),
        avg_logprob=_finite(result.avg_logprob),
        no_speech_prob=_finite(result.no_speech_prob),
        compression_ratio=_finite(result.compression_ratio),
        engine=_label(engine),
        model=_label(model),
        gap_s=job.gap_s,
        decode_s=decode_s,
        attempt=job.attempt,
    )


def build_hypothesis(
    job: Job, result: Result, *, worker: str, boot_id: str, engine: str, model: str, decode_s: float
) -> Hypothesis:
    """The answer to an early or interim job."""
    filtered = filter_result(result, audio_s(job))
    return Hypothesis(
        worker=worker,
        boot_id=boot_id,
        utterance_id=job.utterance_id,
        purpose=job.purpose,
        start_position=job.start_position,
        end_position=job.end_position,
        text=filtered.text,
        reason=filtered.reason,
        words=on_stream_clock(filtered.words, *_span_s(job)),
        avg_logprob=_finite(result.avg_logprob),
        engine=_label(engine),
        model=_label(model),
        decode_s=decode_s,
    )


def build_failed(job: Job, reason: str, detail: str) -> Failed:
    """The entry of a job that a retry would not help."""
    start_s, end_s = _span_s(job)
    return Failed(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        start_s=start_s,
        end_s=end_s,
        wall_ns=job.wall_ns,
        reason=reason,
        detail=sanitize(detail, MAX_DETAIL),
        attempt=job.attempt,
    )


def on_stream_clock(words: tuple[Word, ...], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Moves words, timed from 0, to `start_s`; clamps them to the utterance and to increasing order.

    Whisper places first words up to half a second early, and last words in the padding.
    """
    placed = []
    earliest_s = start_s
    for word in words:
        word_start_s = min(max(start_s + _finite(word.start_s), earliest_s), end_s)
        earliest_s = min(max(start_s + _finite(word.end_s), word_start_s), end_s)
        placed.append(
            replace(word, start_s=word_start_s, end_s=earliest_s, probability=min(max(_finite(word.probability), 0), 1))
        )
    return tuple(placed)


class PreviousFinals:
    """The last entry of each source and where its job ended: it shows the words that a cut has split."""

    def __init__(self) -> None:
        self._previous: dict[str, tuple[Final, int]] = {}

    def drop_repeated_word(self, job: Job, final: Final) -> Final:
        """Drops the first word if the hard-limit cut split it and it already ended the previous utterance."""
        previous = self._split_before(job)
        if not (previous and previous.words and final.words and final.text):
            return final
        last, first, seam_s = previous.words[-1], final.words[0], job.start_position / SAMPLE_RATE_HZ
        is_split = seam_s - last.end_s < SEAM_S and first.start_s - seam_s < SEAM_S
        if not is_split or not normalized(last.word) == normalized(first.word) == normalized(final.text.split()[0]):
            return final
        text = " ".join(final.text.split()[1:])
        return replace(final, text=text, words=final.words[1:], reason=final.reason if text else Reason.REPETITION)

    def update(self, job: Job, final: Final) -> None:
        """Records the entry of a job."""
        self._previous[job.utterance_id.source] = final, job.end_position

    def _split_before(self, job: Job) -> Final | None:
        """The entry that a hard-limit cut ended where this job begins."""
        final, end_position = self._previous.get(job.utterance_id.source, (None, 0))
        is_before = (
            final
            and final.utterance_id.stream == job.utterance_id.stream
            and final.utterance_id.number < job.utterance_id.number
            and final.cut_reason == CutReason.HARD_LIMIT
            and end_position == job.start_position
        )
        return final if is_before else None


def _span_s(job: Job) -> tuple[float, float]:
    return job.start_position / SAMPLE_RATE_HZ, job.end_position / SAMPLE_RATE_HZ


def _label(text: str) -> str:
    return sanitize(text, MAX_LABEL)


def _finite(number: float) -> float:
    """0 for nan and infinity: journal refuses messages that contain them, so they would never be committed."""
    return float(number) if math.isfinite(number) else 0.0
