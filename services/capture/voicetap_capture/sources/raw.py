"""Raw audio from a FIFO, a pipe such as /proc/PID/fd/0, or a file; by default s16le mono 16 kHz.

From a pipe only whole frames are read: what is not yet committed stays in the pipe if this process dies. (Of another
rate, the 40 ms in the resampler are lost then.) A container is refused, not decoded: its decoder would die with it.
"""

import array
import fcntl
import os
import select
import stat
import termios

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, SAMPLE_BYTES
from voicetap.vocabulary import SourceStatus

from .pcm import HEAD_BYTES, RawConverter, RawFormat, container_of, may_be_mpeg

POLL_S = 0.016  # half a frame; a descriptor with half a frame in it is always readable, so polling it would spin
MAX_READ_BYTES = 1 << 20  # of a file, per call
_SPLICE_F_NONBLOCK = 2
_PLAIN = RawFormat()


def open_raw(path: str, position: int, realtime: bool, format_: RawFormat = _PLAIN) -> "RawFileSource | RawPipeSource":
    """Opens a pipe, or a file at sample `position`. Raises ConfigError for anything else."""
    if 1 < format_.channels <= format_.channel:
        raise ConfigError(f"raw:{path}: it has {format_.channels} channels, and capture.channel is {format_.channel}")
    try:
        fd = _open(path)
    except OSError as error:
        raise ConfigError(f"raw:{path}: {error.strerror}") from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return RawPipeSource(fd, path, position, format_)
    if stat.S_ISREG(mode):
        return RawFileSource(fd, path, position, realtime, format_)
    what = "a terminal" if os.isatty(fd) else "not a pipe or a file"
    os.close(fd)
    raise ConfigError(f"raw:{path} is {what}: pipe raw s16le mono 16 kHz sound into it, or name a file")


class RawFileSource:
    """A file of raw audio, from sample `position` on. Raises ConfigError for a container."""

    live = False
    detail = ""
    is_starting = False
    jump = None

    def __init__(self, fd: int, path: str, position: int, realtime: bool, format_: RawFormat = _PLAIN):
        self.state = SourceStatus.LIVE
        self.realtime = realtime
        self._file = os.fdopen(fd, "rb")
        self._format = format_
        self._converter = RawConverter(format_)
        self._ready = b""
        self._is_at_end = False
        self._skip_bytes = 0  # of the output
        if container := container_of(os.pread(fd, HEAD_BYTES, 0)):
            self._file.close()
            raise ConfigError(_refusal(path, container))
        if format_.is_seekable:
            self._file.seek(position * format_.sample_bytes)
        else:
            self._skip_bytes = position * SAMPLE_BYTES

    @property
    def note(self) -> str:
        return self._converter.note

    def wait_s(self) -> float:
        return POLL_S

    def close(self) -> None:
        self._file.close()

    def read(self, max_bytes: int) -> bytes:
        """At most `max_bytes`; empty at the end, and until `position` is reached."""
        wanted = max_bytes // FRAME_BYTES * self._format.frame_bytes or self._format.frame_bytes
        read_bytes = 0
        while len(self._ready) < max_bytes and not self._is_at_end and read_bytes < MAX_READ_BYTES:
            pcm = self._file.read(wanted)
            read_bytes += len(pcm)
            self._is_at_end = len(pcm) < wanted
            whole = pcm[: len(pcm) - len(pcm) % self._format.sample_bytes]
            converted = self._converter.convert(whole, last=self._is_at_end)
            self._ready += converted[self._skip_bytes :]
            self._skip_bytes = max(0, self._skip_bytes - len(converted))
        pcm, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        if self._is_at_end and not self._ready:
            self.state = SourceStatus.ENDED
        return pcm


class RawPipeSource:
    """A pipe of raw audio, live until its writer closes it; a FIFO is lost then, until it has another writer.

    A FIFO without a writer yet counts as live. `read` raises ConfigError for a container.
    """

    live = False
    realtime = False  # its writer sets the rate
    is_starting = False
    jump = None

    def __init__(self, fd: int, path: str, position: int, format_: RawFormat = _PLAIN):
        self.state = SourceStatus.LIVE
        self.detail = ""
        self._path = path
        self._format = format_
        self._is_fifo = not path.startswith("/proc/") and not os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
        self._needs_check = position == 0  # whether it is a container; what follows is not its head
        self._use(fd)

    @property
    def note(self) -> str:
        return self._converter.note

    def wait_s(self) -> float:
        return POLL_S

    def close(self) -> None:
        os.close(self._fd)

    def read(self, max_bytes: int) -> bytes:
        """Whole frames; when the writer leaves also the rest, without an incomplete last sample.

        A resampler delivers in larger pieces, which may exceed `max_bytes` by a few frames.
        """
        closed = any(event & select.POLLHUP for _, event in self._poll.poll(0))  # before counting, not after
        waiting = _bytes_in(self._fd)
        if self.state == SourceStatus.LOST and not self._has_writer(closed, waiting):
            return b""
        if self._needs_check and not self._is_raw(waiting, closed):
            return b""
        frame_bytes = self._format.frame_bytes
        if waiting >= frame_bytes:
            frames = min(waiting // frame_bytes, max(1, max_bytes // FRAME_BYTES))
            return self._converter.convert(os.read(self._fd, frames * frame_bytes))
        if not closed:
            return b""
        whole = waiting - waiting % self._format.sample_bytes
        rest = self._converter.convert(os.read(self._fd, waiting)[:whole], last=True)
        self._on_writer_left()
        return rest

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._converter = RawConverter(self._format)

    def _on_writer_left(self) -> None:
        if not self._is_fifo:
            self.state = SourceStatus.ENDED
            return
        self.state, self.detail = SourceStatus.LOST, "the writer of the FIFO has left; waiting for another"
        self._converter, self._needs_check = RawConverter(self._format), True

    def _has_writer(self, closed: bool, waiting: int) -> bool:
        if closed and not waiting:
            self._reopen_if_replaced()
            return False
        self.state, self.detail = SourceStatus.LIVE, ""
        return True

    def _reopen_if_replaced(self) -> None:
        """The FIFO may have been removed and created anew."""
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
                return
            fd = _open(self._path)
        except OSError:
            return  # not there yet
        os.close(self._fd)
        self._use(fd)
        self.state, self.detail = SourceStatus.LIVE, ""

    def _is_raw(self, waiting: int, closed: bool) -> bool:
        """Whether the head is that of no container; False also while that cannot be told. Nothing is read for it."""
        head = _peek(self._fd) if waiting else b""
        if container := container_of(head):
            raise ConfigError(_refusal(self._path, container))
        is_enough = len(head) >= HEAD_BYTES or (waiting >= self._format.frame_bytes and not may_be_mpeg(head))
        self._needs_check = not is_enough
        return is_enough or closed


def _refusal(path: str, container: str) -> str:
    what = "standard input" if path.startswith("/proc/") else path
    return (
        f"{what} is {container}, not raw sound: use file:PATH, or pipe it through "
        "`ffmpeg -i - -f s16le -ar 16000 -ac 1 -` first"
    )


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _bytes_in(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def _peek(fd: int) -> bytes:
    """The first bytes in a pipe, which stay there."""
    import ctypes

    read_fd, write_fd = os.pipe()
    try:
        copied = ctypes.CDLL(None).tee(fd, write_fd, ctypes.c_size_t(HEAD_BYTES), _SPLICE_F_NONBLOCK)
        return os.read(read_fd, copied) if copied > 0 else b""
    finally:
        os.close(read_fd)
        os.close(write_fd)
