"""Jobs and their results, for tests of transcribe's pure parts."""

from dataclasses import replace

from voicetap.codec import UtteranceId
from voicetap.messages import Final, Job, Word
from voicetap_transcribe.engines.base import Result
from voicetap_transcribe.results import build_final


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


def speculative(purpose: str, number: int = 1, seconds: float = 1.0) -> Job:
    return replace(job(number, seconds), purpose=purpose)


def final(number: int = 1, result: Result | None = None, seconds: float = 1.0) -> Final:
    return build_final(job(number, seconds), result or Result(text="yes"), engine="e", model="m", decode_s=0.1)


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(
        Word(word=text, start_s=0.1 * at, end_s=0.1 * at + 0.1, probability=0.5) for at, text in enumerate(texts)
    )
