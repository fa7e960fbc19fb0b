"""What workers hear that have nothing final to do: pauses that may be the end, and what was said so far."""

from collections.abc import Collection

from voicetap.messages import Hypothesis

from .delivery import Delivery
from .draft import NEVER
from .listener import Listener
from .pace import NEWEST, OFF, UNTAPPED, Pace, Plan
from .speculation import EARLY, INTERIM
from .stream import Stream


class Guessing:
    """Jobs are made when somebody has room for them, so that they are of the newest sound, and none waits."""

    def __init__(self, listeners: Collection[Listener], delivery: Delivery, pace: Pace):
        self._listeners = listeners
        self._delivery = delivery
        self._outbox = delivery.outbox
        self._pace = pace
        self.is_tapped = True  # by somebody who wants interims, as far as we know

    def level(self, now_s: float) -> str:
        """How much interims are degraded; empty when there are none."""
        if not self._pace.share:
            return ""
        return self._plan(now_s).level if self.is_tapped else UNTAPPED

    def hear(self, hypothesis: Hypothesis) -> None:
        for stream in self._open():
            if (interim := stream.hear(hypothesis)) and self._makes_interims:
                self._delivery.tell(interim)
        if not hypothesis.reason:
            self._pace.hear(hypothesis.decode_s)

    def turn(self, now_s: float) -> None:
        while self._outbox.has_room(EARLY, now_s) and (stream := self._paused(now_s)):
            self._delivery.step(stream.early(), now_s)
        while self._makes_interims and self._outbox.has_room(INTERIM, now_s) and (stream := self._overdue(now_s)):
            self._delivery.step(stream.interim(), now_s)

    @property
    def _makes_interims(self) -> bool:
        return self._pace.share > 0 and self.is_tapped

    def _open(self) -> list[Stream]:
        return [stream for listener in self._listeners if (stream := listener.open_stream)]

    def _paused(self, now_s: float) -> Stream | None:
        """Whose pause may be the end the soonest, if it is time to decode it."""
        streams = self._open()
        pauses = [(left_s, stream) for stream in streams if (left_s := stream.ends_in_s()) is not None]
        left_s, stream = min(pauses, key=lambda pause: pause[0], default=(0.0, None))
        return stream if left_s <= self._pace.lead_s(len(streams), self._outbox.worker_count(now_s)) else None

    def _plan(self, now_s: float) -> Plan:
        return self._pace.plan(len(self._open()), self._outbox.worker_count(now_s), self._outbox.is_late(now_s))

    def _overdue(self, now_s: float) -> Stream | None:
        """Whose interim is the most overdue, of those who may have one."""
        plan, streams = self._plan(now_s), self._open()
        if plan.level == NEWEST and streams:
            streams = [max(streams, key=lambda stream: stream.draft.onset_ns)]
        overdue = [(stream.overdue(plan.period_s), stream) for stream in streams if self._may_hear(stream)]
        longest, stream = max(overdue, key=lambda pair: pair[0], default=(NEVER, None))
        return stream if longest >= 0 and plan.level != OFF else None

    def _may_hear(self, stream: Stream) -> bool:
        return self._outbox.guesses.may_hear(stream.draft.utterance_id, INTERIM)
