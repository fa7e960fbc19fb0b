"""Entries and live messages for tests: `final(3)` is the Final of utterance 3 of source `mic`."""

from voicetap.codec import UtteranceId
from voicetap.messages import Failed, Final, Gap, Interim, SpeechStarted

STREAM = "ab12"


def id_of(number: int, source: str = "mic", stream: str = STREAM) -> UtteranceId:
    return UtteranceId(source, stream, number)


def final(number: int, text: str = "", source: str = "mic", stream: str = STREAM, **more: object) -> Final:
    return Final(
        utterance_id=id_of(number, source, stream),
        source=source,
        text=text or f"word{number}",
        start_s=float(number),
        end_s=number + 0.5,
        wall_ns=1,
        ended_ns=1,
        cut_reason="silence",
        **more,
    )


def failed(number: int, source: str = "mic") -> Failed:
    at = id_of(number, source)
    return Failed(utterance_id=at, source=source, start_s=0, end_s=1, wall_ns=1, reason="worker_lost")


def gap(number: int, source: str = "mic") -> Gap:
    at = id_of(number, source)
    return Gap(utterance_id=at, source=source, start_s=0, end_s=1, wall_ns=1, reason="device_lost")


def interim(number: int, revision: int = 1, source: str = "mic") -> Interim:
    return Interim(
        utterance_id=id_of(number, source),
        source=source,
        revision=revision,
        text="what",
        committed_text="",
        start_s=0,
        end_s=1,
    )


def started(number: int, source: str = "mic") -> SpeechStarted:
    at = id_of(number, source)
    return SpeechStarted(utterance_id=at, source=source, start_s=0, onset_s=0.4, captured_ns=1, wall_ns=1)
