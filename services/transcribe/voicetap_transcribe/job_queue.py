"""The jobs of a worker: waiting, being decoded, and decoded but not committed. Pure: no socket, no clock.

Final jobs must each produce an entry. Speculative jobs (early and interim, of utterances that are still open) wait
behind them and may be dropped.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Failed, Final, Job, JournalHead
from voicetap.vocabulary import Purpose

from .engines.base import Result

RESEND_S = 0.5

Span = tuple[UtteranceId, int, int]  # start_position, end_position


@dataclass(frozen=True)
class EarlyResult:
    """The result of an early job."""

    span: Span
    result: Result
    decode_s: float


@dataclass
class _UncommittedEntry:
    entry: Final | Failed
    send_at_s: float


def span_of(job: Job) -> Span:
    """What identifies the audio of a job."""
    return job.utterance_id, job.start_position, job.end_position


class SpeculativeQueue:
    """The newest waiting speculative job of each utterance, and the newest early result of each source."""

    def __init__(self) -> None:
        self._waiting: dict[UtteranceId, Job] = {}
        self._results: dict[str, EarlyResult] = {}

    @property
    def has_early(self) -> bool:
        return any(job.purpose == Purpose.EARLY for job in self._waiting.values())

    def add(self, job: Job) -> None:
        """Replaces the waiting job of the utterance. An early job also drops the utterance's early result."""
        self._waiting[job.utterance_id] = job
        early = self._results.get(job.utterance_id.source)
        if job.purpose == Purpose.EARLY and early and early.span[0] == job.utterance_id:
            del self._results[job.utterance_id.source]

    def next(self) -> Job | None:
        """Removes and returns the oldest early job, or else the oldest interim job."""
        waiting = sorted(self._waiting.values(), key=lambda job: job.purpose != Purpose.EARLY)
        return self._waiting.pop(waiting[0].utterance_id) if waiting else None

    def cache_early_result(self, early: Job, result: Result, decode_s: float) -> None:
        self._results[early.utterance_id.source] = EarlyResult(span_of(early), result, decode_s)

    def early_result_of(self, final: Job) -> EarlyResult | None:
        """The early result for exactly the span of this job."""
        early = self._results.get(final.utterance_id.source)
        return early if early and early.span == span_of(final) else None

    def drop_waiting(self, utterance_id: UtteranceId) -> None:
        self._waiting.pop(utterance_id, None)

    def drop_committed(self, is_committed: Callable[[UtteranceId], bool]) -> None:
        """Drops jobs and early results of committed utterances."""
        self._waiting = {key: job for key, job in self._waiting.items() if not is_committed(key)}
        self._results = {key: early for key, early in self._results.items() if not is_committed(early.span[0])}

    def clear(self) -> None:
        """Drops all waiting jobs."""
        self._waiting.clear()


class JobQueue:
    """Final jobs first, then early ones, then interim ones. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.received = 0  # jobs since the start, as WorkerReport has them
        self.decoding: Job | None = None
        self._waiting: deque[Job] = deque()
        self._speculative = SpeculativeQueue()
        self._uncommitted: dict[UtteranceId, _UncommittedEntry] = {}
        self._journal_id = ""
        self._watermarks: dict[tuple[str, str], int] = {}  # per (source, stream): committed up to this number
        self._committed: set[UtteranceId] = set()  # above the watermarks

    @property
    def holding(self) -> tuple[UtteranceId, ...]:
        """Utterances that vad need not send to another worker."""
        is_final = self.decoding is not None and self.decoding.purpose == Purpose.FINAL
        decoding = [self.decoding.utterance_id] if is_final else []
        return (*self._uncommitted, *decoding, *(job.utterance_id for job in self._waiting))

    @property
    def uncommitted(self) -> tuple[UtteranceId, ...]:
        """Utterances that are decoded but not committed."""
        return tuple(self._uncommitted)

    @property
    def is_final_decoding(self) -> bool:
        """Whether a final job is being decoded whose utterance has no committed entry. vad may have failed it."""
        job = self.decoding
        return job is not None and job.purpose == Purpose.FINAL and not self._is_committed(job.utterance_id)

    @property
    def should_preempt(self) -> bool:
        """Whether an interim job is being decoded while a final or early job waits."""
        is_interim = self.decoding is not None and self.decoding.purpose == Purpose.INTERIM
        return is_interim and bool(self._waiting or self._speculative.has_early)

    def on_job(self, job: Job) -> None:
        """Counts every job, as vad does; drops repeated and committed ones."""
        self.received += 1
        if job.utterance_id in self.holding or self._is_committed(job.utterance_id):
            return
        if job.purpose == Purpose.FINAL:
            self._add_final(job)
        else:
            self._speculative.add(job)

    def _add_final(self, job: Job) -> None:
        self._speculative.drop_waiting(job.utterance_id)
        if self.decoding and self.decoding.purpose == Purpose.EARLY and span_of(self.decoding) == span_of(job):
            self.decoding = job  # the early decode in progress becomes the final one
        else:
            self._waiting.append(job)

    def pop_early_results(self) -> list[tuple[Job, EarlyResult]]:
        """Removes the waiting final jobs that have an early result. The caller passes their entries to `add_result`."""
        done = [(job, early) for job in self._waiting if (early := self._speculative.early_result_of(job))]
        for job, _ in done:
            self._waiting.remove(job)
        return done

    def start(self) -> Job | None:
        """The next job, which is `decoding` from now on. None when none waits or one is being decoded."""
        if self.decoding is None:
            self.decoding = self._waiting.popleft() if self._waiting else self._speculative.next()
            return self.decoding
        return None

    def finish(self) -> Job:
        """Ends decoding and returns the job. It may be final where the decoder was given the early job."""
        job, self.decoding = self.decoding, None
        return job

    def cache_early_result(self, job: Job, result: Result, decode_s: float) -> None:
        """Keeps the result of an early job until its utterance is committed. Ignores interim jobs."""
        if job.purpose == Purpose.EARLY and not self._is_committed(job.utterance_id):
            self._speculative.cache_early_result(job, result, decode_s)

    def add_result(self, entry: Final | Failed, now_s: float) -> None:
        """Keeps the entry until it is committed."""
        if not self._is_committed(entry.utterance_id):
            self._uncommitted[entry.utterance_id] = _UncommittedEntry(entry, now_s)

    def due_results(self, now_s: float) -> list[Final | Failed]:
        """The entries to send now: new ones, and those sent RESEND_S ago that are not committed."""
        due = [waiting for waiting in self._uncommitted.values() if waiting.send_at_s <= now_s]
        for waiting in due:
            waiting.send_at_s = now_s + RESEND_S
        return [waiting.entry for waiting in due]

    def drop_waiting(self) -> None:
        """Drops the jobs that are not started, when the worker stops. vad sends them to another worker."""
        self._waiting.clear()
        self._speculative.clear()

    def on_committed(self, message: Committed) -> None:
        self._committed.add(message.utterance_id)
        self._drop_committed()

    def on_head(self, head: JournalHead) -> None:
        if head.journal_id != self._journal_id:  # a journal with a new file has committed nothing yet
            self._journal_id = head.journal_id
            self._committed.clear()
        self._watermarks = {(key.source, key.stream): key.number for key in head.committed}
        self._committed = {key for key in self._committed if not self._is_below_watermark(key)}
        self._drop_committed()

    def _drop_committed(self) -> None:
        self._uncommitted = {key: entry for key, entry in self._uncommitted.items() if not self._is_committed(key)}
        self._waiting = deque(job for job in self._waiting if not self._is_committed(job.utterance_id))
        self._speculative.drop_committed(self._is_committed)

    def _is_committed(self, key: UtteranceId) -> bool:
        return key in self._committed or self._is_below_watermark(key)

    def _is_below_watermark(self, key: UtteranceId) -> bool:
        return key.number <= self._watermarks.get((key.source, key.stream), 0)
