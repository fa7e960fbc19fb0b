"""supervisord's event listener protocol on stdin and stdout: an event means that some program changed its state.

The content of an event is not parsed. The list of programs is polled instead: it is complete even after events were
discarded.
"""

import os

READY = b"READY\n"
OK = b"RESULT 2\nOK"


class EventListener:
    """Reads events as they arrive, without blocking on an incomplete one."""

    def __init__(self, fd: int, out_fd: int):
        self.fd = fd
        self._out_fd = out_fd
        self._buffer = b""

    def __enter__(self) -> "EventListener":
        self._write(READY)
        return self

    def __exit__(self, *exc: object) -> None:
        self._buffer = b""

    def read(self) -> int:
        """Acknowledges the events that have arrived, and returns how many. Raises EOFError when supervisord exits."""
        if not (data := os.read(self.fd, 65536)):
            raise EOFError("supervisord closed the event stream")
        self._buffer += data
        count = 0
        while self._drop_event():
            self._write(OK + READY)
            count += 1
        return count

    def _drop_event(self) -> bool:
        """Removes one complete event from the buffer."""
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
        os.write(self._out_fd, data)  # a few bytes into a pipe that supervisord empties: does not block
