"""The workers of vad's fake neighbours, and their answers."""

from dataclasses import dataclass, field

from voicetap.codec import UtteranceId
from voicetap.messages import Final, Hypothesis, Job


@dataclass
class FakeWorker:
    """Receives one job at a time. Without `answers` it keeps reporting and holds its final jobs forever."""

    name: str
    boot_id: str = "b1"
    answers: bool = True  # final jobs
    answers_drafts: bool = True  # early and interim jobs
    reports: bool = True
    text: str = ""  # of every hypothesis; empty: their length in samples
    holding: list[UtteranceId] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    drafts: list[Job] = field(default_factory=list)  # early and interim jobs


def final_of(job: Job) -> Final:
    return Final(
        utterance_id=job.utterance_id,
        source=job.utterance_id.source,
        text=f"{len(job.pcm) // 2} samples",
        start_s=job.start_position / 16_000,
        end_s=job.end_position / 16_000,
        wall_ns=job.wall_ns,
        ended_ns=job.ended_ns,
        cut_reason=job.cut_reason,
    )


def hypothesis_of(worker: FakeWorker, job: Job) -> Hypothesis:
    return Hypothesis(
        worker=worker.name,
        boot_id=worker.boot_id,
        utterance_id=job.utterance_id,
        purpose=job.purpose,
        start_position=job.start_position,
        end_position=job.end_position,
        text=worker.text or f"{len(job.pcm) // 2} samples",
        decode_s=0.01,
    )
