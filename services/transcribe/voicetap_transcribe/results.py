"""Turns engine results into messages: timed on the stream, filtered, joined to the utterance before. Pure."""

import math
from dataclasses import dataclass, replace

from voicetap.messages import (
    SAMPLE_BYTES,
    SAMPLE_RATE_HZ,
    CutReason,
    Failed,
    Final,
    Hypothesis,
    Job,
    Reason,
    Word,
)
from voicetap.sanitize import MAX_LABEL, sanitize

from .engines.base import Result
from .hallucination_filter import filter_result, normalized

MAX_DETAIL = 500  # characters
MIN_PROMPT_LOGPROB = -0.7  # a less certain text would repeat its mistakes in the next one
MAX_PROMPT_WORDS = 32
FORCED_CUTS = (CutReason.HARD_LIMIT, CutReason.SOFT_LIMIT)  # cuts during speech
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


@dataclass(frozen=True)
class _PreviousUtterance:
    final: Final
    end_position: int
    is_repeated: bool  # its text is that of the utterance before it


class PreviousUtterances:
    """The last utterance of each source: it prompts the next one, and shows words that a cut has split.

    `max_gap_s`: the longest pause over which a text is used as prompt. With 0 only forced cuts are bridged, as small
    models do worse with a prompt. In memory only: the first utterance after a restart is decoded without a prompt.
    """

    def __init__(self, max_gap_s: float):
        self._max_gap_samples = max_gap_s * SAMPLE_RATE_HZ
        self._previous: dict[str, _PreviousUtterance] = {}

    def previous_text(self, job: Job) -> str:
        """The prompt for this job. Empty where the previous text is uncertain, filtered, repeated or too old."""
        previous = self._before(job)
        if not previous or previous.final.reason or previous.is_repeated:
            return ""
        if job.start_position - previous.end_position > self._max_gap_samples:
            return ""
        if previous.final.avg_logprob < MIN_PROMPT_LOGPROB and not self._is_seam(previous, job):
            return ""
        return " ".join(previous.final.text.split()[-MAX_PROMPT_WORDS:])

    def drop_repeated_word(self, job: Job, final: Final) -> Final:
        """Drops the first word if the hard-limit cut split it and it already ended the previous utterance."""
        previous = self._before(job)
        if not (previous and self._is_seam(previous, job) and previous.final.cut_reason == CutReason.HARD_LIMIT):
            return final
        if not (previous.final.words and final.words and final.text):
            return final
        last, first, seam_s = previous.final.words[-1], final.words[0], job.start_position / SAMPLE_RATE_HZ
        is_split = seam_s - last.end_s < SEAM_S and first.start_s - seam_s < SEAM_S
        if not is_split or not normalized(last.word) == normalized(first.word) == normalized(final.text.split()[0]):
            return final
        text = " ".join(final.text.split()[1:])
        return replace(final, text=text, words=final.words[1:], reason=final.reason if text else Reason.REPETITION)

    def update(self, job: Job, final: Final) -> None:
        """Records the entry of a job."""
        previous = self._previous.get(job.utterance_id.source)
        is_repeated = previous is not None and previous.final.text == final.text
        self._previous[job.utterance_id.source] = _PreviousUtterance(final, job.end_position, is_repeated)

    def _before(self, job: Job) -> _PreviousUtterance | None:
        previous = self._previous.get(job.utterance_id.source)
        is_before = (
            previous
            and previous.final.utterance_id.stream == job.utterance_id.stream
            and previous.final.utterance_id.number < job.utterance_id.number
            and previous.end_position <= job.start_position
        )
        return previous if is_before else None

    @staticmethod
    def _is_seam(previous: _PreviousUtterance, job: Job) -> bool:
        return previous.end_position == job.start_position and previous.final.cut_reason in FORCED_CUTS


def _span_s(job: Job) -> tuple[float, float]:
    return job.start_position / SAMPLE_RATE_HZ, job.end_position / SAMPLE_RATE_HZ


def _label(text: str) -> str:
    return sanitize(text, MAX_LABEL)


def _finite(number: float) -> float:
    """0 for nan and infinity: journal refuses messages that contain them, so they would never be committed."""
    return float(number) if math.isfinite(number) else 0.0
