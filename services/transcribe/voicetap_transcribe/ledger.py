"""What a worker has received, decodes and holds until journal has committed it. Pure: no socket, no clock."""

from collections import deque
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Failed, Final, Job, JournalHead

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
        self._held: dict[UtteranceId, _Held] = {}
        self._journal_id = ""
        self._watermarks: dict[tuple[str, str], int] = {}  # source and stream: all up to this number are committed
        self._committed: set[UtteranceId] = set()  # beyond the watermarks

    @property
    def holding(self) -> tuple[UtteranceId, ...]:
        """What vad need not give to another worker."""
        decoding = [self.decoding.utterance_id] if self.decoding else []
        return (*self._held, *decoding, *(job.utterance_id for job in self._waiting))

    @property
    def results(self) -> tuple[UtteranceId, ...]:
        """What is decoded and not committed."""
        return tuple(self._held)

    @property
    def is_owing(self) -> bool:
        """Whether the job being decoded is still without an entry: vad may have given it up."""
        return self.decoding is not None and not self._is_committed(self.decoding.utterance_id)

    def receive(self, job: Job) -> None:
        """Counts every job, as vad does; keeps those that are news."""
        self.received += 1
        if job.utterance_id not in self.holding and not self._is_committed(job.utterance_id):
            self._waiting.append(job)

    def start(self) -> Job | None:
        """The next job to decode, if none is being decoded."""
        if self.decoding is None and self._waiting:
            self.decoding = self._waiting.popleft()
            return self.decoding
        return None

    def finish(self, entry: Final | Failed, now_s: float) -> None:
        """The job being decoded has become this entry."""
        self.decoding = None
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

    def hear(self, news: Committed | JournalHead) -> None:
        """Journal's word that entries are safe."""
        if isinstance(news, Committed):
            self._committed.add(news.utterance_id)
        else:
            self._follow(news)
        self._held = {key: held for key, held in self._held.items() if not self._is_committed(key)}
        self._waiting = deque(job for job in self._waiting if not self._is_committed(job.utterance_id))

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
