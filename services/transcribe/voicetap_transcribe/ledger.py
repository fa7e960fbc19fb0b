"""What a worker has received, decodes and holds until journal has committed it. Pure: no socket, no clock.

Finals are owed. Drafts, which early and interim jobs are, wait behind them and are not.
"""

from collections import deque
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Failed, Final, Job, JournalHead

from .drafts import EARLY, FINAL, INTERIM, Drafts, Heard, cut_of
from .engine import Result

RESEND_S = 0.5


@dataclass
class _Held:
    entry: Final | Failed
    send_at_s: float


class Ledger:
    """Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self.received = 0
        self.decoding: Job | None = None
        self._waiting: deque[Job] = deque()
        self._drafts = Drafts()
        self._held: dict[UtteranceId, _Held] = {}
        self._journal_id = ""
        self._watermarks: dict[tuple[str, str], int] = {}  # source and stream: all up to this number are committed
        self._committed: set[UtteranceId] = set()  # beyond the watermarks

    @property
    def holding(self) -> tuple[UtteranceId, ...]:
        """What vad need not give to another worker."""
        decoding = [self.decoding.utterance_id] if self.decoding and self.decoding.purpose == FINAL else []
        return (*self._held, *decoding, *(job.utterance_id for job in self._waiting))

    @property
    def results(self) -> tuple[UtteranceId, ...]:
        """What is decoded and not committed."""
        return tuple(self._held)

    @property
    def is_owing(self) -> bool:
        """Whether the job being decoded is to be final and still without an entry: vad may have given it up."""
        job = self.decoding
        return job is not None and job.purpose == FINAL and not self._is_committed(job.utterance_id)

    @property
    def is_pressed(self) -> bool:
        """Whether an interim is being decoded while something more urgent waits."""
        is_interim = self.decoding is not None and self.decoding.purpose == INTERIM
        return is_interim and bool(self._waiting or self._drafts.has_early)

    def receive(self, job: Job) -> None:
        """Counts every job, as vad does; keeps those that are news."""
        self.received += 1
        if job.utterance_id in self.holding or self._is_committed(job.utterance_id):
            return
        if job.purpose == FINAL:
            self._owe(job)
        else:
            self._drafts.receive(job)

    def _owe(self, job: Job) -> None:
        self._drafts.refuse(job.utterance_id)
        if self.decoding and self.decoding.purpose == EARLY and cut_of(self.decoding) == cut_of(job):
            self.decoding = job  # the end that it was guessed to be
        else:
            self._waiting.append(job)

    def recall(self) -> list[tuple[Job, Heard]]:
        """The finals that need no decoding, as they were heard early. They are the caller's to `hold`."""
        known = [(job, heard) for job in self._waiting if (heard := self._drafts.heard_of(job))]
        for job, _ in known:
            self._waiting.remove(job)
        return known

    def start(self) -> Job | None:
        """The next job to decode, if none is being decoded: finals, then early ones, then interims."""
        if self.decoding is None:
            self.decoding = self._waiting.popleft() if self._waiting else self._drafts.next()
            return self.decoding
        return None

    def finish(self) -> Job:
        """Nothing is decoded any more. What was, as it is now: an early job may have become final meanwhile."""
        job, self.decoding = self.decoding, None
        return job

    def remember(self, job: Job, result: Result, decode_s: float) -> None:
        """What a draft sounded like."""
        if job.purpose == EARLY and not self._is_committed(job.utterance_id):
            self._drafts.remember(job, result, decode_s)

    def hold(self, entry: Final | Failed, now_s: float) -> None:
        """A job has become this entry."""
        if not self._is_committed(entry.utterance_id):
            self._held[entry.utterance_id] = _Held(entry, now_s)

    def due(self, now_s: float) -> list[Final | Failed]:
        """The entries to send now: new ones, and those not committed RESEND_S after the last time."""
        due = [held for held in self._held.values() if held.send_at_s <= now_s]
        for held in due:
            held.send_at_s = now_s + RESEND_S
        return [held.entry for held in due]

    def refuse_waiting(self) -> None:
        """For a worker that stops: what it has not begun is another's."""
        self._waiting.clear()
        self._drafts.clear()

    def hear(self, news: Committed | JournalHead) -> None:
        """Journal's word that entries are safe."""
        if isinstance(news, Committed):
            self._committed.add(news.utterance_id)
        else:
            self._follow(news)
        self._held = {key: held for key, held in self._held.items() if not self._is_committed(key)}
        self._waiting = deque(job for job in self._waiting if not self._is_committed(job.utterance_id))
        self._drafts.forget(self._is_committed)

    def _follow(self, head: JournalHead) -> None:
        if head.journal_id != self._journal_id:  # a journal that lost its file has committed nothing yet
            self._journal_id = head.journal_id
            self._committed.clear()
        self._watermarks = {(key.source, key.stream): key.number for key in head.committed}
        self._committed = {key for key in self._committed if not self._is_below(key)}

    def _is_committed(self, key: UtteranceId) -> bool:
        return key in self._committed or self._is_below(key)

    def _is_below(self, key: UtteranceId) -> bool:
        return key.number <= self._watermarks.get((key.source, key.stream), 0)
