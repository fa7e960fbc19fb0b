"""Sound as it is, s16le mono 16 kHz, from a FIFO, a pipe such as /proc/PID/fd/0, or a file.

From a pipe only whole frames are taken: what is not committed is still in the pipe when this process dies.
"""

import array
import fcntl
import os
import select
import stat
import termios

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, SAMPLE_BYTES

POLL_S = 0.016  # half a frame; a descriptor with half a frame in it is always readable, so polling it would spin


def open_raw(path: str, position: int, realtime: bool) -> "RawFile | RawPipe":
    """Raises ConfigError for what cannot be read as sound. `position` is where a file is gone on with."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"raw:{path}: {error.strerror}") from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return RawPipe(fd)
    if stat.S_ISREG(mode):
        return RawFile(fd, position, realtime)
    what = "a terminal" if os.isatty(fd) else "not a pipe or a file"
    os.close(fd)
    raise ConfigError(f"raw:{path} is {what}: pipe raw s16le mono 16 kHz sound into it, or name a file")


class RawFile:
    """A file, from sample `position` on."""

    live = False
    detail = ""

    def __init__(self, fd: int, position: int, realtime: bool):
        self.state = "live"
        self.realtime = realtime
        self._file = os.fdopen(fd, "rb")
        self._file.seek(position * SAMPLE_BYTES)

    def wait_s(self) -> float:
        return POLL_S

    def close(self) -> None:
        self._file.close()

    def read(self, max_bytes: int) -> bytes:
        pcm = self._file.read(max_bytes)
        if len(pcm) < max_bytes:
            self.state = "ended"
        return pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]


class RawPipe:
    """A pipe, live until its writer closes it. One that nobody has opened yet is waited for."""

    live = False
    realtime = False  # its writer sets the pace
    detail = ""

    def __init__(self, fd: int):
        self.state = "live"
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def wait_s(self) -> float:
        return POLL_S

    def close(self) -> None:
        os.close(self._fd)

    def read(self, max_bytes: int) -> bytes:
        """Whole frames; at the end also the rest, without a last odd byte."""
        closed = any(event & select.POLLHUP for _, event in self._poll.poll(0))  # before counting, not after
        waiting = min(_bytes_in(self._fd), max_bytes)
        if waiting >= FRAME_BYTES:
            return os.read(self._fd, waiting - waiting % FRAME_BYTES)
        if not closed:
            return b""
        self.state = "ended"
        return os.read(self._fd, waiting - waiting % SAMPLE_BYTES)


def _bytes_in(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
