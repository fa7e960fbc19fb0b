"""Raw s16le mono 16 kHz audio from a FIFO, a pipe such as /proc/PID/fd/0, or a file.

From a pipe only whole frames are read: what is not yet committed stays in the pipe if this process dies.
"""

import array
import fcntl
import os
import select
import stat
import termios

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, SAMPLE_BYTES, SourceStatus

POLL_S = 0.016  # half a frame; a descriptor with half a frame in it is always readable, so polling it would spin


def open_raw(path: str, position: int, realtime: bool) -> "RawFileSource | RawPipeSource":
    """Opens a pipe, or a file at sample `position`. Raises ConfigError for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"raw:{path}: {error.strerror}") from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return RawPipeSource(fd)
    if stat.S_ISREG(mode):
        return RawFileSource(fd, position, realtime)
    what = "a terminal" if os.isatty(fd) else "not a pipe or a file"
    os.close(fd)
    raise ConfigError(f"raw:{path} is {what}: pipe raw s16le mono 16 kHz sound into it, or name a file")


class RawFileSource:
    """A file of raw audio, from sample `position` on."""

    live = False
    detail = ""
    is_starting = False
    note = ""
    jump = None

    def __init__(self, fd: int, position: int, realtime: bool):
        self.state = SourceStatus.LIVE
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
            self.state = SourceStatus.ENDED
        return pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]


class RawPipeSource:
    """A pipe of raw audio, live until its writer closes it. A FIFO without a writer yet counts as live."""

    live = False
    realtime = False  # its writer sets the rate
    detail = ""
    is_starting = False
    note = ""
    jump = None

    def __init__(self, fd: int):
        self.state = SourceStatus.LIVE
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def wait_s(self) -> float:
        return POLL_S

    def close(self) -> None:
        os.close(self._fd)

    def read(self, max_bytes: int) -> bytes:
        """Whole frames; at the end also the rest, without an odd last byte."""
        closed = any(event & select.POLLHUP for _, event in self._poll.poll(0))  # before counting, not after
        waiting = min(_bytes_in(self._fd), max_bytes)
        if waiting >= FRAME_BYTES:
            return os.read(self._fd, waiting - waiting % FRAME_BYTES)
        if not closed:
            return b""
        self.state = SourceStatus.ENDED
        return os.read(self._fd, waiting - waiting % SAMPLE_BYTES)


def _bytes_in(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
