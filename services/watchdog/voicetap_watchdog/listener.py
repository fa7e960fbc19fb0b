"""supervisord's event listener protocol on stdin and stdout: it tells us that some program changed its state.

What changed is not read out of the event: the list of programs is asked for, and is the whole truth even when
events were discarded.
"""

import os

READY = b"READY\n"
OK = b"RESULT 2\nOK"


class Listener:
    """Reads events as they come, never waiting for the rest of one."""

    def __init__(self, fd: int, out_fd: int):
        self.fd = fd
        self._out_fd = out_fd
        self._buffer = b""

    def __enter__(self) -> "Listener":
        self._write(READY)
        return self

    def __exit__(self, *exc: object) -> None:
        self._buffer = b""

    def read(self) -> int:
        """How many events came, each answered. Raises EOFError when supervisord is gone."""
        if not (data := os.read(self.fd, 65536)):
            raise EOFError("supervisord closed the event stream")
        self._buffer += data
        count = 0
        while self._take():
            self._write(OK + READY)
            count += 1
        return count

    def _take(self) -> bool:
        header, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return False
        fields = dict(item.split(b":", 1) for item in header.split())
        length = int(fields[b"len"])
        if len(rest) < length:
            return False
        self._buffer = rest[length:]
        return True

    def _write(self, data: bytes) -> None:
        os.write(self._out_fd, data)  # a few bytes into a pipe that supervisord empties
