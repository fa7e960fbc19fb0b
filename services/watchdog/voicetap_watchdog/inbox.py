"""Signals as something to wait for, together with what else may happen."""

import os
import select
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Inbox:
    """The signals that come, one byte each. `sigtimedwait`, stopped and continued, reports some that never came."""

    def __init__(self) -> None:
        self._read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def wait(self, timeout_s: float, *others: int) -> bytes:
        """Those that have come, after waiting at most `timeout_s` for the first, or for another descriptor."""
        ready = select.select([self._read_fd, *others], [], [], timeout_s)[0]
        return os.read(self._read_fd, 64) if self._read_fd in ready else b""
