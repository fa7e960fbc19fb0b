"""What journal has not committed yet, and who is working on it: `step(event, now) -> effects`, and nothing else.

An utterance leaves on journal's word alone. Until then a worker's reports are its lease on it: a worker that is
silent, new, or no longer holding it has lost it, and the next idle one gets it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from voicetap.codec import UtteranceId
from voicetap.messages import (
    SAMPLE_BYTES,
    SAMPLE_RATE_HZ,
    Committed,
    Failed,
    Final,
    Gap,
    Job,
    JournalHead,
    WorkerReport,
)

from .entries import failed_of

NEVER_S = float("-inf")
RESEND_S = 0.5
MAX_RESENT = 32  # entries sent to journal at once; the others wait for these
JOURNAL_PATIENCE_S = 1.0  # after a start: journal may have committed what the cut list still holds

Entry = Final | Failed | Gap
Event = Job | Entry | WorkerReport | Committed | JournalHead | None  # None: time has passed


@dataclass(frozen=True)
class Connect:
    """`worker` is a new process: a new socket, without what the old one still held."""

    worker: str


@dataclass(frozen=True)
class Send:
    worker: str
    job: Job


@dataclass(frozen=True)
class Tell:
    """To journal."""

    entry: Entry


@dataclass(frozen=True)
class Attempt:
    """To be remembered across restarts."""

    utterance_id: UtteranceId
    attempt: int


Effect = Connect | Send | Tell | Attempt


@dataclass
class _Item:
    content: Job | Entry
    worker: str = ""  # who has it
    lost_by: str = ""  # who had it last, if it may come back with it
    seen_s: float = 0.0  # when that worker last said so, or got it
    told_s: float = NEVER_S


@dataclass
class _Worker:
    boot_id: str
    sent: int  # jobs, by our count, to this boot
    heard_s: float
    idle: bool = False
    since_s: float = 0.0  # when it got the last one


@dataclass
class Outbox:
    """All sources and all workers. `items` are in order of age within a source."""

    lease_s: float
    max_attempts: int
    max_held_s: float  # of sound per source
    started_s: float
    _items: dict[str, dict[UtteranceId, _Item]] = field(default_factory=dict)
    _workers: dict[str, _Worker] = field(default_factory=dict)
    journal_heard: bool = False
    failed: Counter[str] = field(default_factory=Counter)  # entries of ours, per source, since the start

    @property
    def is_empty(self) -> bool:
        return not any(self._items.values())

    def step(self, event: Event, now_s: float) -> list[Effect]:
        return [*self._take(event, now_s), *self._expire(now_s), *self._tell(now_s), *self._dispatch(now_s)]

    def _take(self, event: Event, now_s: float) -> Iterator[Effect]:
        match event:
            case WorkerReport():
                yield from self._hear(event, now_s)
            case Committed():
                self._forget([event.utterance_id])
            case JournalHead():
                self.journal_heard = True
                self._forget([id_ for known in event.committed for id_ in self._up_to(known)])
            case Failed():  # whoever has the job may still be first
                self._items.setdefault(event.utterance_id.source, {})[event.utterance_id] = _Item(event)
            case Job() | Final() | Gap():
                items = self._items.setdefault(event.utterance_id.source, {})
                items.setdefault(event.utterance_id, _Item(event))
                self._bound(items)

    def _up_to(self, known: UtteranceId) -> list[UtteranceId]:
        items = self._items.get(known.source, {})
        return [id_ for id_ in items if id_.stream == known.stream and id_.number <= known.number]

    def _forget(self, ids: list[UtteranceId]) -> None:
        for id_ in ids:
            self._items.get(id_.source, {}).pop(id_, None)

    def _bound(self, items: dict[UtteranceId, _Item]) -> None:
        """Nobody has transcribed for longer than the ring lasts: the oldest sound is given up, and it is said."""
        jobs = [item for item in items.values() if isinstance(item.content, Job)]
        held_bytes = sum(len(item.content.pcm) for item in jobs)
        for item in jobs:
            if held_bytes <= self.max_held_s * SAMPLE_RATE_HZ * SAMPLE_BYTES:
                return
            held_bytes -= len(item.content.pcm)
            item.content = failed_of(item.content, "overrun", "no worker took it while its sound was kept")

    def _hear(self, report: WorkerReport, now_s: float) -> Iterator[Effect]:
        worker = self._workers.get(report.worker)
        if worker is None or worker.boot_id != report.boot_id:
            yield Connect(report.worker)
            yield from self._lost(report.worker)
            # what a vad before us sent is not ours to count
            worker = self._workers[report.worker] = _Worker(report.boot_id, report.received, now_s)
        worker.heard_s = now_s
        worker.sent = max(worker.sent, report.received)
        if report.received < worker.sent and now_s - worker.since_s > self.lease_s:
            worker.sent = report.received  # it never arrived
        ready = report.state in ("ready", "busy")
        worker.idle = ready and report.received == worker.sent and not report.decoding
        for id_ in report.holding:
            yield from self._renew(id_, report.worker, now_s)

    def _renew(self, id_: UtteranceId, worker: str, now_s: float) -> Iterator[Effect]:
        item = self._items.get(id_.source, {}).get(id_)
        if item and item.worker in ("", worker):  # "": we were restarted, or took it for lost
            item.worker, item.seen_s = worker, now_s
            if item.lost_by == worker:  # it was only slow, which is no failed attempt
                yield from self._count(item, -1)
            item.lost_by = ""

    def _lost(self, worker: str) -> Iterator[Effect]:
        for item in self._all():
            if worker in (item.worker, item.lost_by):
                item.lost_by = ""
            if item.worker == worker:
                item.worker = ""
                yield from self._count(item, 1)

    def _expire(self, now_s: float) -> Iterator[Effect]:
        for item in self._all():
            if item.worker and now_s - item.seen_s > self.lease_s:
                item.worker, item.lost_by = "", item.worker
                yield from self._count(item, 1)

    def _count(self, item: _Item, lost: int) -> Iterator[Effect]:
        if isinstance(item.content, Job):
            item.content = replace(item.content, attempt=item.content.attempt + lost)
            yield Attempt(item.content.utterance_id, item.content.attempt)

    def _tell(self, now_s: float) -> Iterator[Effect]:
        for source, items in self._items.items():
            direct = [item for item in items.values() if self._is_direct(item)]
            for item in direct[:MAX_RESENT]:
                if now_s - item.told_s >= RESEND_S:
                    self.failed[source] += isinstance(item.content, Failed) and item.told_s == NEVER_S
                    item.told_s = now_s
                    yield Tell(item.content)

    def _is_direct(self, item: _Item) -> bool:
        if isinstance(item.content, Job) and not item.worker and item.content.attempt >= self.max_attempts:
            detail = f"{item.content.attempt} workers were lost over it"
            item.content = failed_of(item.content, "worker_lost", detail)
        return not isinstance(item.content, Job)

    def _dispatch(self, now_s: float) -> Iterator[Effect]:
        if not self.journal_heard and now_s - self.started_s < JOURNAL_PATIENCE_S:
            return
        for name, worker in self._workers.items():
            if worker.idle and now_s - worker.heard_s <= self.lease_s and (item := self._next()):
                item.worker, item.lost_by, item.seen_s = name, "", now_s
                worker.idle, worker.sent, worker.since_s = False, worker.sent + 1, now_s
                yield Send(name, item.content)

    def _next(self) -> _Item | None:
        """The oldest waiting utterance of the source whose turn it is."""
        for source, items in list(self._items.items()):
            waiting = (item for item in items.values() if isinstance(item.content, Job) and not item.worker)
            if item := next(waiting, None):
                self._items[source] = self._items.pop(source)  # to the end of the line
                return item
        return None

    def _all(self) -> Iterator[_Item]:
        return (item for items in self._items.values() for item in items.values())
