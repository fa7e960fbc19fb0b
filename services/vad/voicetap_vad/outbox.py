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

from .effects import Attempt, Connect, Effect, Entry, Send, Tell
from .entries import LOST, failed_of
from .speculation import FINAL, Speculation
from .workers import Worker, Workers

NEVER_S = float("-inf")
RESEND_S = 0.5
LATE_S = 1.0
MAX_RESENT = 32  # entries sent to journal at once; the others wait for these
JOURNAL_PATIENCE_S = 1.0  # after a start: journal may have committed what the cut list still holds

Event = Job | Entry | WorkerReport | Committed | JournalHead | None  # None: time has passed


@dataclass
class _Item:
    content: Job | Entry
    since_s: float
    told_s: float = NEVER_S
    is_told: bool = False
    worker: str = ""  # who has it
    lost_by: str = ""  # who had it last, if it may come back with it
    seen_s: float = 0.0  # when that worker last said so, or got it


@dataclass
class Outbox:
    """All sources and all workers. `items` are in order of age within a source."""

    lease_s: float
    max_attempts: int
    max_held_s: float  # of sound per source
    started_s: float
    _items: dict[str, dict[UtteranceId, _Item]] = field(default_factory=dict)
    _served_s: dict[str, float] = field(default_factory=dict)  # when a worker last got something of a source
    journal_heard: bool = False
    failed: Counter[str] = field(default_factory=Counter)  # entries of ours, per source, since the start
    guesses: Speculation = field(default_factory=Speculation)

    def __post_init__(self) -> None:
        self._workers = Workers(self.lease_s)

    @property
    def is_empty(self) -> bool:
        return not any(self._items.values())

    def counts(self, source: str) -> dict[str, int]:
        """As in SourceState."""
        early = {"early_jobs": self.guesses.early[source], "early_used": self.guesses.used[source]}
        return {"failed": self.failed[source], **early}

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
                told_s = now_s if event.reason == LOST else NEVER_S  # perhaps a worker has it, and will say so
                self._items.setdefault(event.utterance_id.source, {})[event.utterance_id] = _Item(event, now_s, told_s)
            case Job() if event.purpose != FINAL:
                yield from self._guess(event, now_s)
            case Job() | Final() | Gap():
                items = self._items.setdefault(event.utterance_id.source, {})
                items.setdefault(event.utterance_id, _Item(event, now_s))
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
        if self._workers.hear(report, now_s):
            yield Connect(report.worker)
            yield from self._lost(report.worker)
        if self._workers.is_idle(report.worker):
            self.guesses.free(report.worker)
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
        self.guesses.lose(worker)
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
                    self.failed[source] += isinstance(item.content, Failed) and not item.is_told
                    item.told_s, item.is_told = now_s, True
                    yield Tell(item.content)

    def _is_direct(self, item: _Item) -> bool:
        if isinstance(item.content, Job) and not item.worker and item.content.attempt >= self.max_attempts:
            detail = f"{item.content.attempt} workers were lost over it"
            item.content = failed_of(item.content, "worker_lost", detail)
        return not isinstance(item.content, Job) and not (item.worker and item.content.reason == LOST)

    def has_room(self, purpose: str, now_s: float) -> bool:
        """For an early or interim job. No final waits then: those that did have just been handed out."""
        return not self._is_patient(now_s) and self._workers.room(purpose, now_s) is not None

    def worker_count(self, now_s: float) -> int:
        return len(list(self._workers.alive(now_s)))

    def is_late(self, now_s: float) -> bool:
        """Whether finals wait for longer than they should."""
        return any(now_s - item.since_s > LATE_S for item in self._waiting())

    def _guess(self, job: Job, now_s: float) -> Iterator[Effect]:
        if (worker := self._workers.room(job.purpose, now_s)) and self.guesses.may_hear(job.utterance_id, job.purpose):
            self.guesses.give(job, worker.name)
            yield self._give(job, worker, now_s)

    def _is_patient(self, now_s: float) -> bool:
        return not self.journal_heard and now_s - self.started_s < JOURNAL_PATIENCE_S

    def _dispatch(self, now_s: float) -> Iterator[Effect]:
        if self._is_patient(now_s):
            return
        for name, item in self._known():
            if worker := self._workers.find(name, now_s):
                self.guesses.use(item.content)
                yield self._hand_out(item, worker, now_s)
        while waiting := self._waiting():
            if not (worker := self._workers.room(FINAL, now_s)):
                return
            yield self._hand_out(min(waiting, key=self._urgency), worker, now_s)

    def _known(self) -> list[tuple[str, _Item]]:
        """Whoever has the very sound of a waiting utterance already, and that utterance."""
        found = [(name, self._items.get(id_.source, {}).get(id_)) for id_, name in self.guesses.heard()]
        return [
            (name, item) for name, item in found if item and self._is_waiting(item) and self.guesses.knows(item.content)
        ]

    def _waiting(self) -> list[_Item]:
        """The oldest waiting utterance of each source."""
        found = (self._first_waiting(items) for items in self._items.values())
        return [item for item in found if item]

    def _first_waiting(self, items: dict[UtteranceId, _Item]) -> _Item | None:
        return next((item for item in items.values() if self._is_waiting(item)), None)

    def _is_waiting(self, item: _Item) -> bool:
        return isinstance(item.content, Job) and not item.worker

    def _urgency(self, item: _Item) -> float:
        """By age; but a source counts from when it last got something, so that a heap of old ones blocks nobody."""
        return max(item.since_s, self._served_s.get(item.content.utterance_id.source, NEVER_S))

    def _hand_out(self, item: _Item, worker: Worker, now_s: float) -> Send:
        item.worker, item.lost_by, item.seen_s = worker.name, "", now_s
        self._served_s[item.content.utterance_id.source] = now_s
        return self._give(item.content, worker, now_s)

    def _give(self, job: Job, worker: Worker, now_s: float) -> Send:
        worker.give(job.purpose, now_s)
        return Send(worker.name, job)

    def _all(self) -> Iterator[_Item]:
        return (item for items in self._items.values() for item in items.values())
