"""Which speculative jobs to create, and when: early jobs in pauses, partials of open utterances.

Partials are decoded as often as a share of the workers' time allows. Under load they degrade step by step: less often,
then only for the utterance that started last, then not at all. The early job of a pause is created as late as it can
be and still be decoded when the pause turns out to be the endpoint, because most pauses are not.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from voicetap.messages import Hypothesis
from voicetap.vocabulary import Purpose

from .dispatcher import Dispatcher
from .partials import NEVER
from .source_tracker import SourceTracker
from .stream import Stream

MIN_PERIOD_S = 0.4
MAX_PERIOD_S = 6.0  # partials less frequent than this are useless
SMOOTHING = 0.3  # weight of the newest decode time
DEVIATIONS = 3.0  # margin above the mean decode time, in mean deviations
TRANSFER_S = 0.1  # to the worker and back; a frame is a third of that


class PartialLevel(StrEnum):
    """How far partials are degraded; `interims` of SourceState."""

    FULL = "full"
    SLOWER = "slower"
    NEWEST = "newest"  # only for the utterance that started last
    OFF = "off"
    UNTAPPED = "untapped"  # no tap subscribes to them


@dataclass(frozen=True)
class PartialPlan:
    """`period_s` is the interval between two partials of one source."""

    level: PartialLevel
    period_s: float = MIN_PERIOD_S


class SpeculationBudget:
    """Plans by measured decode times. `share` is the part of the workers' time that partials may take. Pure.

    Mean and mean deviation are estimated as TCP does for round-trip times (RFC 6298).
    """

    def __init__(self, share: float):
        self.share = share
        self._decode_s = 0.0  # mean; 0 is unknown
        self._deviation_s = 0.0

    def update(self, decode_s: float) -> None:
        if not self._decode_s:
            self._decode_s, self._deviation_s = decode_s, decode_s / 2
            return
        self._deviation_s += SMOOTHING * (abs(decode_s - self._decode_s) - self._deviation_s)
        self._decode_s += SMOOTHING * (decode_s - self._decode_s)

    def lead_s(self, speakers: int, workers: int) -> float:
        """How long before a possible endpoint its early job must start; infinite before the first measurement."""
        if not self._decode_s:
            return float("inf")
        likely_s = self._decode_s + DEVIATIONS * self._deviation_s
        return TRANSFER_S + likely_s * max(1.0, speakers / max(1, workers))

    def plan(self, speakers: int, workers: int, is_late: bool) -> PartialPlan:
        """`is_late`: finals are waiting for workers."""
        if is_late or not workers:
            return PartialPlan(PartialLevel.OFF)
        alone_s = max(MIN_PERIOD_S, self._decode_s / (self.share * workers))
        together_s = max(alone_s, self._decode_s * speakers / (self.share * workers))
        if together_s <= MAX_PERIOD_S:
            level = PartialLevel.FULL if together_s == alone_s else PartialLevel.SLOWER
            return PartialPlan(level, together_s)
        return PartialPlan(PartialLevel.NEWEST, alone_s) if alone_s <= MAX_PERIOD_S else PartialPlan(PartialLevel.OFF)


class Speculator:
    """Creates a job only when a worker can start it, so that it has the newest sound and none waits."""

    def __init__(self, trackers: Collection[SourceTracker], dispatcher: Dispatcher, budget: SpeculationBudget):
        self._trackers = trackers
        self._dispatcher = dispatcher
        self._outbox = dispatcher.outbox
        self._budget = budget
        self.is_tapped = True  # until journal reports that no tap wants partials

    def level(self, now_s: float) -> str:
        """A PartialLevel; empty when partials are disabled."""
        if not self._budget.share:
            return ""
        return self._plan(now_s).level if self.is_tapped else PartialLevel.UNTAPPED

    def on_hypothesis(self, hypothesis: Hypothesis) -> None:
        for stream in self._open_streams():
            if (partial := stream.on_hypothesis(hypothesis)) and self._has_partials:
                self._dispatcher.publish(partial)
        if not hypothesis.reason:
            self._budget.update(hypothesis.decode_s)

    def step(self, now_s: float) -> None:
        while self._outbox.has_room(Purpose.EARLY, now_s) and (stream := self._next_pause(now_s)):
            self._dispatcher.step(stream.early_job(), now_s)
        while self._has_partials and self._outbox.has_room(Purpose.INTERIM, now_s):
            if not (stream := self._next_partial(now_s)):
                return
            self._dispatcher.step(stream.partial_job(), now_s)

    @property
    def _has_partials(self) -> bool:
        return self._budget.share > 0 and self.is_tapped

    def _open_streams(self) -> list[Stream]:
        return [stream for tracker in self._trackers if (stream := tracker.open_stream)]

    def _next_pause(self, now_s: float) -> Stream | None:
        """The stream whose pause may be the endpoint the soonest, if it is time to decode it."""
        streams = self._open_streams()
        pauses = [(left_s, stream) for stream in streams if (left_s := stream.pause_ends_in_s()) is not None]
        left_s, stream = min(pauses, key=lambda pause: pause[0], default=(0.0, None))
        return stream if left_s <= self._budget.lead_s(len(streams), self._outbox.worker_count(now_s)) else None

    def _plan(self, now_s: float) -> PartialPlan:
        speakers, workers = len(self._open_streams()), self._outbox.worker_count(now_s)
        return self._budget.plan(speakers, workers, self._outbox.is_late(now_s))

    def _next_partial(self, now_s: float) -> Stream | None:
        """The stream whose partial is the most overdue, among those that may have one."""
        plan, streams = self._plan(now_s), self._open_streams()
        if plan.level == PartialLevel.NEWEST and streams:
            streams = [max(streams, key=lambda stream: stream.partial.onset_ns)]
        overdue = [(stream.partial_overdue(plan.period_s), stream) for stream in streams if self._is_allowed(stream)]
        longest, stream = max(overdue, key=lambda pair: pair[0], default=(NEVER, None))
        return stream if longest >= 0 and plan.level != PartialLevel.OFF else None

    def _is_allowed(self, stream: Stream) -> bool:
        return self._outbox.speculative.is_allowed(stream.partial.utterance_id, Purpose.INTERIM)
