"""Virtual time: a queue of timed actions, and the clock that replaces the module `time` in the services."""

import heapq
import itertools
from collections.abc import Callable

START_S = 1000.0  # the host has been up for a while
MAX_EVENTS = 250_000  # in one world: ten times as many as in any that came to rest
_WALL_NS = 1_800_000_000_000_000_000


class EndlessError(BaseException):
    """The world does not come to rest. No `except Exception` may hide this."""


class Timeline:
    """Runs the actions that are due, in order of time, and advances the clock in between."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._events = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when_s, next(self._order), action))

    def count(self) -> None:
        """Counts one more event. Raises EndlessError beyond MAX_EVENTS."""
        self._events += 1
        if self._events > MAX_EVENTS:
            raise EndlessError(f"no end after {MAX_EVENTS} events")

    def run(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Runs actions until `until_s`, or until `is_over`. An action may call this: others run while it waits."""
        while not is_over():
            if not self._due or self._due[0][0] > until_s:
                self.now_s = max(self.now_s, until_s)
                return
            when_s, _, action = heapq.heappop(self._due)
            self.now_s = max(self.now_s, when_s)
            self.count()
            action()


class Clock:
    """Replaces the module `time`."""

    def __init__(self, timeline: Timeline):
        self._timeline = timeline
        self.wall_offset_s = 0.0  # changed when the host's wall clock is set

    def monotonic(self) -> float:
        return self._timeline.now_s

    def monotonic_ns(self) -> int:
        return int(self._timeline.now_s * 1e9)

    def time_ns(self) -> int:
        return _WALL_NS + int((self._timeline.now_s + self.wall_offset_s) * 1e9)

    def strftime(self, form: str) -> str:
        return f"{self._timeline.now_s:.6f}"
