"""Who watches the watchdog: it rewrites a small file as it turns, and supervise kills it when the file stands still.

Only changes are compared, by the reader's own clock: neither a clock that jumps nor a reader that was itself
stopped can condemn a watchdog that works.
"""

import os
import select
from contextlib import suppress
from pathlib import Path

WELL, UNWELL = "well  ", "unwell"  # the watchdog's verdict, at the end of the file
LATE_S = 1.0  # between two looks: the reader was stopped, and perhaps all others too


class Pulse:
    """The reader's side."""

    def __init__(self, path: Path, heartbeat_timeout_s: float, startup_timeout_s: float):
        self._path = path
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._last = b""
        self._until_s = self._looked_s = 0.0
        self.rearm(0.0)

    def rearm(self, now_s: float) -> None:
        """Somebody is about to start it."""
        self._until_s = now_s + self._startup_timeout_s

    @property
    def is_unwell(self) -> bool:
        """Whether the watchdog, when last looked at, said that a program cannot be brought back."""
        return self._last.endswith(UNWELL.encode())

    def has_stopped(self, now_s: float) -> bool:
        try:
            mark = self._path.read_bytes()
        except FileNotFoundError:
            mark = b""
        was_late, self._looked_s = now_s - self._looked_s > LATE_S, now_s
        if mark != self._last:
            self._last, self._until_s = mark, now_s + self._heartbeat_timeout_s
        elif was_late:
            self._until_s = max(self._until_s, now_s + self._heartbeat_timeout_s)
        return now_s > self._until_s


class Victim:
    """A process whose death is noticed at once: supervisord would take a second or two to."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        self._pid = 0

    def follow(self, pid: int) -> None:
        if pid != self._pid:
            self._forget()
            with suppress(ProcessLookupError):  # dead already, and another will be named soon
                self.fds, self._pid = [os.pidfd_open(pid)], pid

    def is_dead(self) -> bool:
        """True once."""
        if is_dead := bool(self.fds) and bool(select.select(self.fds, [], [], 0)[0]):
            self._forget()
        return is_dead

    def _forget(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds, self._pid = [], 0
