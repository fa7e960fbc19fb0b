"""Virtual time: what happens when, and the clock that the services see in place of the module `time`."""

import heapq
import itertools
from collections.abc import Callable

START_S = 1000.0  # the host was not booted this instant
MAX_EVENTS = 250_000  # in one world: ten times as many as in any that came to its end
_WALL_NS = 1_800_000_000_000_000_000


class EndlessError(BaseException):
    """Somebody runs in circles. No `except Exception` may hide it."""


class Timeline:
    """Calls what is due, one after the other, and moves the clock in between."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._events = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when_s, next(self._order), action))

    def count(self) -> None:
        """One more event. Raises EndlessError where it is one too many."""
        self._events += 1
        if self._events > MAX_EVENTS:
            raise EndlessError(f"no end after {MAX_EVENTS} events")

    def run(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Until then, or until it is over. May be called by an action: the others go on while that one waits."""
        while not is_over():
            if not self._due or self._due[0][0] > until_s:
                self.now_s = max(self.now_s, until_s)
                return
            when_s, _, action = heapq.heappop(self._due)
            self.now_s = max(self.now_s, when_s)
            self.count()
            action()


class Clock:
    """Stands in for `time`."""

    def __init__(self, timeline: Timeline):
        self._timeline = timeline
        self.wall_offset_s = 0.0  # somebody sets the host's clock

    def monotonic(self) -> float:
        return self._timeline.now_s

    def monotonic_ns(self) -> int:
        return int(self._timeline.now_s * 1e9)

    def time_ns(self) -> int:
        return _WALL_NS + int((self._timeline.now_s + self.wall_offset_s) * 1e9)

    def strftime(self, form: str) -> str:
        return f"{self._timeline.now_s:.6f}"
