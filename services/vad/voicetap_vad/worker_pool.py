"""The workers as their reports describe them, and which of them has which speculative job. Pure.

Reports are credit: a job is pushed to a worker that has none. A high-water mark of one instead would let a second job
wait in the socket of a busy worker while another is idle, and nothing more urgent could overtake it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Job, WorkerReport
from voicetap.vocabulary import Purpose, ServiceState


@dataclass
class WorkerState:
    """One worker process. `sent` counts the jobs sent to this boot."""

    name: str
    boot_id: str
    sent: int
    last_report_s: float
    is_idle: bool = False
    is_preemptible: bool = False  # it has only an interim job, which it abandons for a more urgent one
    last_job_s: float = 0.0

    def on_report(self, report: WorkerReport, now_s: float, lease_s: float) -> None:
        self.last_report_s = now_s
        self.sent = max(self.sent, report.received)
        if report.received < self.sent and now_s - self.last_job_s > lease_s:
            self.sent = report.received  # the job was lost on its way
        is_ready = report.state in (ServiceState.READY, ServiceState.BUSY)
        self.is_idle = is_ready and report.received == self.sent and not report.decoding
        self.is_preemptible = self.is_preemptible and is_ready and not self.is_idle

    def on_job_sent(self, purpose: str, now_s: float) -> None:
        self.is_preemptible = self.is_idle and purpose == Purpose.INTERIM
        self.is_idle, self.sent, self.last_job_s = False, self.sent + 1, now_s


class WorkerPool:
    """All workers that have reported, by name. One without a report for `lease_s` is not alive."""

    def __init__(self, lease_s: float):
        self._lease_s = lease_s
        self._workers: dict[str, WorkerState] = {}

    def on_report(self, report: WorkerReport, now_s: float) -> bool:
        """Whether this is a new process. Jobs that an earlier vad sent to it are not counted."""
        worker = self._workers.get(report.worker)
        if is_new := worker is None or worker.boot_id != report.boot_id:
            worker = WorkerState(report.worker, report.boot_id, report.received, now_s)
            self._workers[report.worker] = worker
        worker.on_report(report, now_s, self._lease_s)
        return is_new

    def is_idle(self, name: str) -> bool:
        return self._workers[name].is_idle

    def find_free(self, purpose: str, now_s: float) -> WorkerState | None:
        """A worker that could start such a job now: an idle one, else one that would abandon its interim job."""
        alive = list(self.alive(now_s))
        idle = next((worker for worker in alive if worker.is_idle), None)
        if idle or purpose == Purpose.INTERIM:
            return idle
        return next((worker for worker in alive if worker.is_preemptible), None)

    def find(self, name: str, now_s: float) -> WorkerState | None:
        return next((worker for worker in self.alive(now_s) if worker.name == name), None)

    def alive(self, now_s: float) -> Iterator[WorkerState]:
        return (worker for worker in self._workers.values() if now_s - worker.last_report_s <= self._lease_s)


@dataclass(frozen=True)
class _SpeculativeJob:
    utterance_id: UtteranceId
    span: tuple[int, int]
    worker: str


class SpeculativeJobs:
    """Per source, the newest early job and the interim job being decoded. They are not owed: errors cost only time."""

    def __init__(self) -> None:
        self.early_count: Counter[str] = Counter()  # sent, per source, since the start
        self.used_count: Counter[str] = Counter()  # of these: their pause was the endpoint
        self._early: dict[str, _SpeculativeJob] = {}
        self._interim: dict[str, _SpeculativeJob] = {}
        self._barred: dict[str, UtteranceId] = {}

    def on_sent(self, job: Job, worker: str) -> None:
        source = job.utterance_id.source
        speculative = _SpeculativeJob(job.utterance_id, (job.start_position, job.end_position), worker)
        if job.purpose == Purpose.EARLY:
            self._early[source] = speculative
            self.early_count[source] += 1
        else:
            self._interim[source] = speculative

    def early_workers(self) -> list[tuple[UtteranceId, str]]:
        """The utterances of the newest early jobs, each with the worker that has it."""
        return [(early.utterance_id, early.worker) for early in self._early.values()]

    def has_early(self, final: Job) -> bool:
        """Whether the newest early job of the source has the same span as this final one."""
        early = self._early.get(final.utterance_id.source)
        span = final.start_position, final.end_position
        return early is not None and (early.utterance_id, early.span) == (final.utterance_id, span)

    def on_used(self, final: Job) -> None:
        """The final job goes to the worker that has its early job."""
        del self._early[final.utterance_id.source]
        self.used_count[final.utterance_id.source] += 1

    def on_idle(self, worker: str) -> None:
        """The worker decodes nothing: its interim job is answered or abandoned."""
        self._interim = {source: job for source, job in self._interim.items() if job.worker != worker}

    def on_worker_lost(self, worker: str) -> None:
        """The worker died; send no more speculative jobs for what it was decoding."""
        lost = [job for job in (*self._early.values(), *self._interim.values()) if job.worker == worker]
        self._barred |= {job.utterance_id.source: job.utterance_id for job in lost}
        self._early = {source: job for source, job in self._early.items() if job.worker != worker}
        self.on_idle(worker)

    def is_allowed(self, utterance_id: UtteranceId, purpose: str) -> bool:
        """Whether another job of this utterance may be sent; interim jobs only one at a time."""
        source = utterance_id.source
        is_decoding = purpose == Purpose.INTERIM and source in self._interim
        return self._barred.get(source) != utterance_id and not is_decoding
