"""The workers among vad's peers, and their answers."""

from dataclasses import dataclass, field

from voicetap.codec import UtteranceId
from voicetap.messages import Final, Hypothesis, Job


@dataclass
class FakeWorker:
    """Accepts one job at a time. With `answers` off it keeps reporting and never has a result.

    `answers_speculative`: whether early and interim jobs are answered with a Hypothesis; otherwise they are ignored.
    """

    name: str
    boot_id: str = "b1"
    answers: bool = True
    reports: bool = True
    answers_speculative: bool = True
    text: str = ""  # of every hypothesis; if empty, the text states the length of the job
    holding: list[UtteranceId] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)  # final ones
    speculative_jobs: list[Job] = field(default_factory=list)  # early and interim ones


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
