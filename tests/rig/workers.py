"""The workers of vad's neighbours, and what they answer."""

from dataclasses import dataclass, field

from voicetap.codec import UtteranceId
from voicetap.messages import Final, Hypothesis, Job


@dataclass
class Worker:
    """Takes one job at a time. `answers` off: it goes on reporting, and never has a result.

    What early and interim jobs sound like it says when it `hears`; otherwise it does nothing about them.
    """

    name: str
    boot_id: str = "b1"
    answers: bool = True
    reports: bool = True
    hears: bool = True
    says: str = ""  # of all of them; else how long they are
    holds: list[UtteranceId] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    guesses: list[Job] = field(default_factory=list)  # early and interim ones


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


def hypothesis_of(worker: Worker, job: Job) -> Hypothesis:
    return Hypothesis(
        worker=worker.name,
        boot_id=worker.boot_id,
        utterance_id=job.utterance_id,
        purpose=job.purpose,
        start_position=job.start_position,
        end_position=job.end_position,
        text=worker.says or f"{len(job.pcm) // 2} samples",
        decode_s=0.01,
    )
