"""From what an engine heard to the entry that is published: on the stream's clock, and judged. Pure."""

import math
from dataclasses import replace

from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, Failed, Final, Hypothesis, Job, Word

from . import guards
from .engine import Result

MAX_LABEL = 200


def audio_s(job: Job) -> float:
    return len(job.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ


def final_of(job: Job, result: Result, *, engine: str, model: str, decode_s: float) -> Final:
    """The entry for a decoded job."""
    verdict = guards.judge(result, audio_s(job))
    return Final(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        text=verdict.text,
        reason=verdict.reason,
        words=on_stream_clock(verdict.words, *_span_s(job)),
        start_s=_span_s(job)[0],
        end_s=_span_s(job)[1],
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


def hypothesis_of(
    job: Job, result: Result, *, worker: str, boot_id: str, engine: str, model: str, decode_s: float
) -> Hypothesis:
    """The answer to a draft."""
    verdict = guards.judge(result, audio_s(job))
    return Hypothesis(
        worker=worker,
        boot_id=boot_id,
        utterance_id=job.utterance_id,
        purpose=job.purpose,
        start_position=job.start_position,
        end_position=job.end_position,
        text=verdict.text,
        reason=verdict.reason,
        words=on_stream_clock(verdict.words, *_span_s(job)),
        avg_logprob=_finite(result.avg_logprob),
        engine=_label(engine),
        model=_label(model),
        decode_s=decode_s,
    )


def failed_of(job: Job, reason: str, detail: str) -> Failed:
    """The entry for a job that no retry would help."""
    start_s, end_s = _span_s(job)
    return Failed(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        start_s=start_s,
        end_s=end_s,
        wall_ns=job.wall_ns,
        reason=reason,
        detail=guards.clean(detail)[:500],
        attempt=job.attempt,
    )


def on_stream_clock(words: tuple[Word, ...], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Words timed from `start_s`, moved there, kept inside the utterance and in order.

    Whisper puts first words up to half a second early, and last words into the padding.
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


def _span_s(job: Job) -> tuple[float, float]:
    return job.start_position / SAMPLE_RATE_HZ, job.end_position / SAMPLE_RATE_HZ


def _label(text: str) -> str:
    return guards.clean(text)[:MAX_LABEL]


def _finite(number: float) -> float:
    """Journal refuses a message with nan or infinity, so it would never be committed."""
    return float(number) if math.isfinite(number) else 0.0
