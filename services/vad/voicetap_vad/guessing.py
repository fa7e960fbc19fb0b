"""What workers hear that have nothing final to do: pauses that may be the end, and what was said so far."""

from collections.abc import Collection

from voicetap.messages import Hypothesis

from .delivery import Delivery
from .draft import NEVER
from .listener import Listener
from .pace import NEWEST, OFF, Pace, Plan
from .speculation import EARLY, INTERIM
from .stream import Stream


class Guessing:
    """Jobs are made when somebody has room for them, so that they are of the newest sound, and none waits."""

    def __init__(self, listeners: Collection[Listener], delivery: Delivery, pace: Pace | None):
        self._listeners = listeners
        self._delivery = delivery
        self._outbox = delivery.outbox
        self._pace = pace  # of interims; None: there are none

    def level(self, now_s: float) -> str:
        """How much interims are degraded; empty when there are none."""
        return self._plan(now_s).level if self._pace else ""

    def hear(self, hypothesis: Hypothesis) -> None:
        for stream in self._open():
            if (interim := stream.hear(hypothesis)) and self._pace:
                self._delivery.tell(interim)
        if self._pace and not hypothesis.reason:
            self._pace.hear(hypothesis.decode_s)

    def turn(self, now_s: float) -> None:
        while self._outbox.has_room(EARLY, now_s) and (stream := self._paused()):
            self._delivery.step(stream.early(), now_s)
        while self._pace and self._outbox.has_room(INTERIM, now_s) and (stream := self._overdue(self._plan(now_s))):
            self._delivery.step(stream.interim(), now_s)

    def _open(self) -> list[Stream]:
        return [stream for listener in self._listeners if (stream := listener.open_stream)]

    def _paused(self) -> Stream | None:
        """Whose pause is the oldest that was not heard."""
        paused = [stream for stream in self._open() if stream.paused_ns() is not None]
        return min(paused, key=lambda stream: stream.paused_ns(), default=None)

    def _plan(self, now_s: float) -> Plan:
        return self._pace.plan(len(self._open()), self._outbox.worker_count(now_s), self._outbox.is_late(now_s))

    def _overdue(self, plan: Plan) -> Stream | None:
        """Whose interim is the most overdue, of those who may have one."""
        streams = self._open()
        if plan.level == NEWEST and streams:
            streams = [max(streams, key=lambda stream: stream.draft.onset_ns)]
        overdue = [(stream.overdue(plan.period_s), stream) for stream in streams if self._may_hear(stream)]
        longest, stream = max(overdue, key=lambda pair: pair[0], default=(NEVER, None))
        return stream if longest >= 0 and plan.level != OFF else None

    def _may_hear(self, stream: Stream) -> bool:
        return self._outbox.guesses.may_hear(stream.draft.utterance_id, INTERIM)
