"""Makes what travels out of cuts: events, a job with its sound, or the entry that goes to journal directly."""

from voicetap.codec import UtteranceId
from voicetap.messages import (
    FRAME_SAMPLES,
    SAMPLE_BYTES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    Failed,
    Final,
    Gap,
    Job,
    SpeechStarted,
    SpeechStopped,
)

from .cutlist import GAP, SHORT, Cut
from .speculation import FINAL

LOST = "cuts_lost"  # why nothing is known of an utterance, or of the sound before some place


def id_of(source: str, cut: Cut) -> UtteranceId:
    return UtteranceId(source, cut.stream, cut.number)


def started_of(source: str, cut: Cut, onset: AudioFrame) -> SpeechStarted:
    return SpeechStarted(
        utterance_id=id_of(source, cut),
        source=source,
        start_s=cut.start_position / SAMPLE_RATE_HZ,
        onset_s=onset.position / SAMPLE_RATE_HZ,
        captured_ns=onset.captured_ns,
        wall_ns=cut.wall_ns,
    )


def stopped_of(source: str, cut: Cut) -> SpeechStopped:
    return SpeechStopped(
        utterance_id=id_of(source, cut),
        source=source,
        end_s=cut.end_position / SAMPLE_RATE_HZ,
        reason=cut.reason,
    )


def job_of(source: str, cut: Cut, frames: list[AudioFrame], purpose: str = FINAL) -> Job:
    """The utterance as it will be transcribed. What the device did not deliver is silence, so that times hold."""
    pcm = bytearray()
    gap_samples = 0
    position = cut.start_position
    for frame in frames:
        missing = max(0, frame.position - position)
        pcm += bytes(missing * SAMPLE_BYTES) + frame.pcm
        gap_samples += missing
        position = frame.position + FRAME_SAMPLES
    return Job(
        utterance_id=id_of(source, cut),
        attempt=cut.attempt,
        start_position=cut.start_position,
        end_position=cut.end_position,
        ended_ns=cut.ended_ns,
        wall_ns=cut.wall_ns,
        cut_reason=cut.reason,
        pcm=bytes(pcm),
        gap_s=gap_samples / SAMPLE_RATE_HZ,
        purpose=purpose,
    )


def entry_of(source: str, cut: Cut) -> Final | Failed | Gap:
    """The entry of a cut that no worker needs to see: a gap, too short, or failed."""
    common = {
        "utterance_id": id_of(source, cut),
        "source": source,
        "start_s": cut.start_position / SAMPLE_RATE_HZ,
        "end_s": cut.end_position / SAMPLE_RATE_HZ,
        "wall_ns": cut.wall_ns,
    }
    if cut.kind == GAP:
        return Gap(reason=cut.reason, **common)
    if cut.kind == SHORT:
        return Final(text="", reason="too_short", cut_reason=cut.reason, ended_ns=cut.ended_ns, **common)
    return Failed(reason=cut.reason, attempt=cut.attempt, **common)


def failed_of(job: Job, reason: str, detail: str) -> Failed:
    """The end of a job that will not be transcribed."""
    return Failed(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        start_s=job.start_position / SAMPLE_RATE_HZ,
        end_s=job.end_position / SAMPLE_RATE_HZ,
        wall_ns=job.wall_ns,
        reason=reason,
        detail=detail,
        attempt=job.attempt,
    )
