"""What journal has not committed yet: jobs to workers, entries to journal, both until journal has the entry.

Outbox decides: `step(event, now_s) -> effects`, pure. Dispatcher carries the effects out on the bus.

An utterance leaves the outbox only when journal has committed it. Until then a worker's reports are its lease: a worker
that is silent, restarted, or no longer holds the utterance loses it, and the next idle one gets it.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from voicetap import links
from voicetap.bus import Sender
from voicetap.codec import UtteranceId
from voicetap.messages import (
    SAMPLE_BYTES,
    SAMPLE_RATE_HZ,
    Committed,
    Entry,
    Failed,
    Final,
    Gap,
    Interim,
    Job,
    JournalHead,
    SpeechStarted,
    SpeechStopped,
    Status,
    WorkerReport,
)
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node
from voicetap.vocabulary import Purpose, Reason

from .segment_store import SegmentStore
from .worker_pool import SpeculativeJobs, WorkerPool, WorkerState

NEVER_S = float("-inf")
RESEND_S = 0.5
LATE_S = 1.0
MAX_UNCOMMITTED = 32  # entries per source in flight to journal; the others wait for these
JOURNAL_TIMEOUT_S = 1.0  # after a start: journal may have committed segments that are still in the store

OutboxEvent = Job | Entry | WorkerReport | Committed | JournalHead | None  # None: time has passed

log = logging.getLogger("vad")


@dataclass(frozen=True)
class Connect:
    """`worker` is a new process: open a new socket, without what the old one still held."""

    worker: str


@dataclass(frozen=True)
class SendJob:
    worker: str
    job: Job


@dataclass(frozen=True)
class SendEntry:
    """To journal."""

    entry: Entry


@dataclass(frozen=True)
class SaveAttempt:
    """The count of lost workers, which must survive a restart."""

    utterance_id: UtteranceId
    attempt: int


Effect = Connect | SendJob | SendEntry | SaveAttempt


@dataclass
class _Item:
    content: Job | Entry
    queued_s: float
    sent_s: float = NEVER_S  # to journal, last
    is_sent: bool = False
    worker: str = ""  # holds the lease
    expired_worker: str = ""  # held the last lease, and may still report that it has the job
    renewed_s: float = 0.0  # the lease


@dataclass
class Outbox:
    """All sources and all workers. The items of a source are in order of age."""

    lease_s: float
    max_attempts: int
    max_held_s: float  # of sound per source
    started_s: float
    _items: dict[str, dict[UtteranceId, _Item]] = field(default_factory=dict)
    _served_s: dict[str, float] = field(default_factory=dict)  # per source: when its last job was sent
    has_journal_head: bool = False
    failed: Counter[str] = field(default_factory=Counter)  # entries sent from here, per source, since the start
    speculative: SpeculativeJobs = field(default_factory=SpeculativeJobs)

    def __post_init__(self) -> None:
        self._workers = WorkerPool(self.lease_s)

    @property
    def is_empty(self) -> bool:
        return not any(self._items.values())

    def counts(self, source: str) -> dict[str, int]:
        """Fields of SourceState."""
        early, used = self.speculative.early_count[source], self.speculative.used_count[source]
        return {"failed": self.failed[source], "early_jobs": early, "early_used": used}

    def has_room(self, purpose: str, now_s: float) -> bool:
        """Whether a speculative job would be sent. Finals do not wait then: `step` has just dispatched them."""
        return not self._is_starting(now_s) and self._workers.find_free(purpose, now_s) is not None

    def worker_count(self, now_s: float) -> int:
        return len(list(self._workers.alive(now_s)))

    def is_late(self, now_s: float) -> bool:
        """Whether a final job has waited for longer than LATE_S."""
        return any(now_s - item.queued_s > LATE_S for item in self._waiting())

    def step(self, event: OutboxEvent, now_s: float) -> list[Effect]:
        return [*self._handle(event, now_s), *self._expire(now_s), *self._send_entries(now_s), *self._dispatch(now_s)]

    def _handle(self, event: OutboxEvent, now_s: float) -> Iterator[Effect]:
        match event:
            case WorkerReport():
                yield from self._on_report(event, now_s)
            case Committed():
                self._drop([event.utterance_id])
            case JournalHead():
                self.has_journal_head = True
                self._drop([id_ for last in event.committed for id_ in self._up_to(last)])
            case Failed():  # replaces a job; a worker that has the job may still finish first
                sent_s = now_s if event.reason == Reason.CUTS_LOST else NEVER_S  # wait for a worker to report it
                self._items.setdefault(event.utterance_id.source, {})[event.utterance_id] = _Item(event, now_s, sent_s)
            case Job() if event.purpose != Purpose.FINAL:
                yield from self._dispatch_speculative(event, now_s)
            case Job() | Final() | Gap():
                items = self._items.setdefault(event.utterance_id.source, {})
                items.setdefault(event.utterance_id, _Item(event, now_s))
                self._limit(items)

    # ---- leaving the outbox ---------------------------------------------------------------------

    def _up_to(self, last: UtteranceId) -> list[UtteranceId]:
        items = self._items.get(last.source, {})
        return [id_ for id_ in items if id_.stream == last.stream and id_.number <= last.number]

    def _drop(self, ids: list[UtteranceId]) -> None:
        for id_ in ids:
            self._items.get(id_.source, {}).pop(id_, None)

    def _limit(self, items: dict[UtteranceId, _Item]) -> None:
        """Fails the oldest jobs once their source holds more sound than the ring: no worker took them in time."""
        jobs = [item for item in items.values() if isinstance(item.content, Job)]
        held_bytes = sum(len(item.content.pcm) for item in jobs)
        for item in jobs:
            if held_bytes <= self.max_held_s * SAMPLE_RATE_HZ * SAMPLE_BYTES:
                return
            held_bytes -= len(item.content.pcm)
            item.content = _failed(item.content, Reason.OVERRUN, "no worker took it while its sound was kept")

    def _send_entries(self, now_s: float) -> Iterator[Effect]:
        for source, items in self._items.items():
            entries = [item for item in items.values() if self._is_for_journal(item)]
            for item in entries[:MAX_UNCOMMITTED]:
                if now_s - item.sent_s >= RESEND_S:
                    self.failed[source] += isinstance(item.content, Failed) and not item.is_sent
                    item.sent_s, item.is_sent = now_s, True
                    yield SendEntry(item.content)

    def _is_for_journal(self, item: _Item) -> bool:
        """Whether it is an entry; a job becomes one here after too many attempts."""
        if isinstance(item.content, Job) and not item.worker and item.content.attempt >= self.max_attempts:
            detail = f"{item.content.attempt} workers were lost over it"
            item.content = _failed(item.content, Reason.WORKER_LOST, detail)
        return not isinstance(item.content, Job) and not (item.worker and item.content.reason == Reason.CUTS_LOST)

    # ---- leases ---------------------------------------------------------------------------------

    def _on_report(self, report: WorkerReport, now_s: float) -> Iterator[Effect]:
        if self._workers.on_report(report, now_s):
            yield Connect(report.worker)
            yield from self._on_worker_lost(report.worker)
        if self._workers.is_idle(report.worker):
            self.speculative.on_idle(report.worker)
        for id_ in report.holding:
            yield from self._renew(id_, report.worker, now_s)

    def _renew(self, id_: UtteranceId, worker: str, now_s: float) -> Iterator[Effect]:
        item = self._items.get(id_.source, {}).get(id_)
        if item and item.worker in ("", worker):  # "": this vad has restarted, or the lease has expired
            item.worker, item.renewed_s = worker, now_s
            if item.expired_worker == worker:  # it was only slow, which is no failed attempt
                yield from self._add_attempts(item, -1)
            item.expired_worker = ""

    def _on_worker_lost(self, worker: str) -> Iterator[Effect]:
        self.speculative.on_worker_lost(worker)
        for item in self._all_items():
            if worker in (item.worker, item.expired_worker):
                item.expired_worker = ""
            if item.worker == worker:
                item.worker = ""
                yield from self._add_attempts(item, 1)

    def _expire(self, now_s: float) -> Iterator[Effect]:
        for item in self._all_items():
            if item.worker and now_s - item.renewed_s > self.lease_s:
                item.worker, item.expired_worker = "", item.worker
                yield from self._add_attempts(item, 1)

    def _add_attempts(self, item: _Item, count: int) -> Iterator[Effect]:
        if isinstance(item.content, Job):
            item.content = replace(item.content, attempt=item.content.attempt + count)
            yield SaveAttempt(item.content.utterance_id, item.content.attempt)

    # ---- jobs to workers --------------------------------------------------------------------------

    def _is_starting(self, now_s: float) -> bool:
        """Whether to wait for journal's first head, which may drop items."""
        return not self.has_journal_head and now_s - self.started_s < JOURNAL_TIMEOUT_S

    def _dispatch_speculative(self, job: Job, now_s: float) -> Iterator[Effect]:
        worker = self._workers.find_free(job.purpose, now_s)
        if worker and self.speculative.is_allowed(job.utterance_id, job.purpose):
            self.speculative.on_sent(job, worker.name)
            yield self._send(job, worker, now_s)

    def _dispatch(self, now_s: float) -> Iterator[Effect]:
        if self._is_starting(now_s):
            return
        for name, item in self._decoded_early():
            if worker := self._workers.find(name, now_s):
                self.speculative.on_used(item.content)
                yield self._assign(item, worker, now_s)
        while waiting := self._waiting():
            if not (worker := self._workers.find_free(Purpose.FINAL, now_s)):
                return
            yield self._assign(min(waiting, key=self._priority), worker, now_s)

    def _decoded_early(self) -> list[tuple[str, _Item]]:
        """The waiting items whose very span was sent early, each with the worker that has it."""
        early = self.speculative.early_workers()
        found = [(name, self._items.get(id_.source, {}).get(id_)) for id_, name in early]
        return [
            (name, item)
            for name, item in found
            if item and self._is_waiting(item) and self.speculative.has_early(item.content)
        ]

    def _waiting(self) -> list[_Item]:
        """The oldest waiting item of each source."""
        found = (self._first_waiting(items) for items in self._items.values())
        return [item for item in found if item]

    def _first_waiting(self, items: dict[UtteranceId, _Item]) -> _Item | None:
        return next((item for item in items.values() if self._is_waiting(item)), None)

    def _is_waiting(self, item: _Item) -> bool:
        return isinstance(item.content, Job) and not item.worker

    def _priority(self, item: _Item) -> float:
        """Lowest first: by age, counted from the source's last job, so that a long backlog blocks no other source."""
        return max(item.queued_s, self._served_s.get(item.content.utterance_id.source, NEVER_S))

    def _assign(self, item: _Item, worker: WorkerState, now_s: float) -> SendJob:
        item.worker, item.expired_worker, item.renewed_s = worker.name, "", now_s
        self._served_s[item.content.utterance_id.source] = now_s
        return self._send(item.content, worker, now_s)

    def _send(self, job: Job, worker: WorkerState, now_s: float) -> SendJob:
        worker.on_job_sent(job.purpose, now_s)
        return SendJob(worker.name, job)

    def _all_items(self) -> Iterator[_Item]:
        return (item for items in self._items.values() for item in items.values())


def _failed(job: Job, reason: str, detail: str) -> Failed:
    """The entry of a job that will not be transcribed."""
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


class Dispatcher:
    """Carries out the effects of the outbox: sockets to workers and journal, attempts in the segment stores."""

    def __init__(self, node: Node, outbox: Outbox, stores: dict[str, SegmentStore]):
        self.outbox = outbox
        self._node = node
        self._stores = stores
        self._results = node.sender(links.RESULTS)
        self._jobs: dict[str, Sender] = {}

    def publish(self, message: Interim | SpeechStarted | SpeechStopped | Status) -> None:
        """Sends a message that may be lost."""
        self._results.send(message)

    def step(self, event: OutboxEvent, now_s: float) -> None:
        for effect in self.outbox.step(event, now_s):
            match effect:
                case Connect(worker):
                    self._connect_to(worker)
                case SendJob(worker, job):
                    failpoint("vad.job.assigned")
                    self._jobs[worker].send(job)
                    failpoint("vad.job.sent")
                case SendEntry(entry):
                    self._results.send(entry)
                case SaveAttempt(id_, attempt):
                    log.warning("%s: its worker was lost, attempt %d", id_, attempt)
                    self._stores[id_.source].save_attempt(id_.stream, id_.number, attempt)
                    self._stores[id_.source].commit()

    def _connect_to(self, worker: str) -> None:
        if worker in self._jobs:
            self._node.close(self._jobs.pop(worker))
        self._jobs[worker] = self._node.sender(links.JOBS.of(worker))
