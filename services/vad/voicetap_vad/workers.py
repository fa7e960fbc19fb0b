"""The workers as their reports show them: who is there, and who has room for a job. Pure.

Their reports are credit: a job is pushed to a worker that has none. With a high-water mark of one instead, a second job
would wait in the socket of a worker that is busy while another is idle, and nothing more urgent could overtake it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from voicetap.messages import WorkerReport


@dataclass
class Worker:
    """One process. `sent` are the jobs by our count, to this boot."""

    name: str
    boot_id: str
    sent: int
    heard_s: float
    is_idle: bool = False
    gives_way: bool = False  # it has nothing but an interim, for which nothing urgent has to wait
    given_s: float = 0.0  # when it got the last job

    def hear(self, report: WorkerReport, now_s: float, lease_s: float) -> None:
        self.heard_s = now_s
        self.sent = max(self.sent, report.received)
        if report.received < self.sent and now_s - self.given_s > lease_s:
            self.sent = report.received  # it never arrived
        is_ready = report.state in ("ready", "busy")
        self.is_idle = is_ready and report.received == self.sent and not report.decoding
        self.gives_way = self.gives_way and is_ready and not self.is_idle

    def give(self, purpose: str, now_s: float) -> None:
        self.gives_way = self.is_idle and purpose == "interim"
        self.is_idle, self.sent, self.given_s = False, self.sent + 1, now_s


class Workers:
    """All of them, by name."""

    def __init__(self, lease_s: float):
        self._lease_s = lease_s
        self._known: dict[str, Worker] = {}

    def hear(self, report: WorkerReport, now_s: float) -> bool:
        """Whether it is a new process. What one before us sent to that is not ours to count."""
        worker = self._known.get(report.worker)
        if is_new := worker is None or worker.boot_id != report.boot_id:
            worker = self._known[report.worker] = Worker(report.worker, report.boot_id, report.received, now_s)
        worker.hear(report, now_s, self._lease_s)
        return is_new

    def is_idle(self, name: str) -> bool:
        return self._known[name].is_idle

    def room(self, purpose: str, now_s: float) -> Worker | None:
        """Who could begin with such a job: somebody idle, else somebody who would give way to it."""
        alive = list(self.alive(now_s))
        idle = next((worker for worker in alive if worker.is_idle), None)
        if idle or purpose == "interim":
            return idle
        return next((worker for worker in alive if worker.gives_way), None)

    def find(self, name: str, now_s: float) -> Worker | None:
        return next((worker for worker in self.alive(now_s) if worker.name == name), None)

    def alive(self, now_s: float) -> Iterator[Worker]:
        return (worker for worker in self._known.values() if now_s - worker.heard_s <= self._lease_s)
