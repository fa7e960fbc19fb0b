"""How `supervise` monitors the watchdog: a file that the watchdog rewrites in every turn, and a pidfd of its process.

The reader compares contents only, and measures time by its own clock: neither a clock that is set nor a reader that was
itself stopped leads to the kill of a watchdog that works.
"""

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

# The last word in the file: whether every program can be restarted. Of one length, so that nothing has to be truncated.
HEALTHY, UNHEALTHY = "well  ", "unwell"
LATE_S = 1.0  # after a longer pause between two reads the reader was stopped, and perhaps the watchdog too


class WatchdogFileWriter:
    """The watchdog's side. Closes its descriptor at the end of `with`."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> "WatchdogFileWriter":
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def write(self, is_healthy: bool) -> None:
        content = f"{os.getpid():10} {time.monotonic_ns():20} {HEALTHY if is_healthy else UNHEALTHY}"
        os.pwrite(self._fd, content.encode(), 0)


class WatchdogFileReader:
    """The side of `supervise`."""

    def __init__(self, path: Path, heartbeat_timeout_s: float, startup_timeout_s: float):
        self._path = path
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._content = b""
        self._deadline_s = self._last_read_s = 0.0
        self.reset(0.0)

    def reset(self, start_s: float) -> None:
        """Allows a watchdog that starts at `start_s` its startup timeout."""
        self._deadline_s = start_s + self._startup_timeout_s

    @property
    def is_unhealthy(self) -> bool:
        """Whether the watchdog, at the last read, reported a program that cannot be restarted."""
        return self._content.endswith(UNHEALTHY.encode())

    def is_stale(self, now_s: float) -> bool:
        """Reads the file. True when it has not changed within the timeout."""
        try:
            content = self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            content = b""
        was_late, self._last_read_s = now_s - self._last_read_s > LATE_S, now_s
        if content != self._content:
            self._content, self._deadline_s = content, now_s + self._heartbeat_timeout_s
        elif was_late:
            self._deadline_s = max(self._deadline_s, now_s + self._heartbeat_timeout_s)
        return now_s > self._deadline_s


class ExitMonitor:
    """Detects the exit of one process at once, by a pidfd: supervisord alone would take a second or two."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        self._pid = 0

    def follow(self, pid: int) -> None:
        """Monitors this process instead of the former one."""
        if pid != self._pid:
            self._close()
            with suppress(ProcessLookupError):  # it has exited already; the next poll finds its successor
                self.fds, self._pid = [os.pidfd_open(pid)], pid

    def has_exited(self) -> bool:
        """True once per process."""
        if has_exited := bool(self.fds) and bool(select.select(self.fds, [], [], 0)[0]):
            self._close()
        return has_exited

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, and never to its successor."""
        for fd in self.fds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)

    def _close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds, self._pid = [], 0
