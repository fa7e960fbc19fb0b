"""The ring: the last minutes of one source in a memory-mapped file, which outlives every process.

A slot is written first, then the head, as one aligned 8-byte store: a process killed in between leaves a
torn slot beyond the head, where nobody looks. The file is allocated, not sparse: a store into a page that a
full tmpfs cannot give would be a SIGBUS. A file that is not ours, or damaged, is replaced by a new stream.
"""

import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame
from voicetap.service.failpoint import failpoint

_MAGIC = b"vtring01"
_HEADER = struct.Struct("<8sQQ16s16s")  # magic, slots, bytes of a slot, digest of the origin, stream
_CRC = struct.Struct("<I")
_META = struct.Struct("<QQQQ28s")  # seq, position, captured_ns, wall_ns, gap_reason
_HEAD_OFFSET = 128  # of next_seq; a multiple of 8
_FIRST_SLOT = mmap.PAGESIZE
_SLOT_BYTES = _CRC.size + _META.size + FRAME_BYTES


class Ring:
    """Frames `first_seq` up to, not including, `next_seq`. Opened in a `with`; one writer, which is also the reader.

    `origin` names what is heard: the ring of another origin, or of another boot of the host, whose monotonic
    clock its times are of, is not gone on with.
    """

    def __init__(self, path: Path, source: str, seconds: float, origin: str):
        self.path = path
        self.slots = max(2, round(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES))
        self._source = source
        self._origin = zlib.crc32(f"{_boot_id()} {origin}".encode()).to_bytes(16, "little")

    def __enter__(self) -> "Ring":
        if not self._open():
            self._create()
            self._open()
        last = self.last()
        self.next_position = last.position + FRAME_SAMPLES if last else 0
        return self

    def __exit__(self, *exc: object) -> None:
        self._head.release()
        self._map.close()

    @property
    def next_seq(self) -> int:
        return self._head[0]

    @property
    def first_seq(self) -> int:
        return max(0, self.next_seq - self.slots + 1)  # one slot may be torn: the next to be written

    def last(self) -> AudioFrame | None:
        return self.read(self.next_seq - 1) if self.next_seq else None

    def commit(self, frame: AudioFrame) -> None:
        """Once this returns the frame survives the process. `frame.seq` must be `next_seq`."""
        meta = (frame.seq, frame.position, frame.captured_ns, frame.wall_ns, frame.gap_reason.encode())
        body = _META.pack(*meta) + frame.pcm
        offset = self._offset(frame.seq)
        self._map[offset : offset + _SLOT_BYTES] = _CRC.pack(zlib.crc32(body)) + body
        failpoint("capture.slot.written")
        self._head[0] = frame.seq + 1
        self.next_position = frame.position + FRAME_SAMPLES

    def read(self, seq: int) -> AudioFrame | None:
        """A frame the ring holds; None for a damaged one."""
        slot = memoryview(self._map)[(offset := self._offset(seq)) : offset + _SLOT_BYTES]
        with slot:
            crc, body = _CRC.unpack_from(slot)[0], bytes(slot[_CRC.size :])
        found, position, captured_ns, wall_ns, gap_reason = _META.unpack_from(body)
        if found != seq or crc != zlib.crc32(body):
            return None
        return AudioFrame(
            source=self._source,
            stream=self.stream,
            seq=seq,
            position=position,
            captured_ns=captured_ns,
            wall_ns=wall_ns,
            pcm=body[_META.size :],
            gap_reason=gap_reason.rstrip(b"\0").decode(),
        )

    def look_at(self) -> None:
        """Maps the file of another process, to read and not to write. Raises OSError or ValueError when it is none."""
        with open(self.path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, self.slots, slot_bytes, _, stream = _HEADER.unpack_from(self._map)
        if (magic, slot_bytes, self._file_bytes) != (_MAGIC, _SLOT_BYTES, len(self._map)):
            self._map.close()
            raise ValueError(f"{self.path} is no ring of this version")
        self.stream = stream.decode()
        self._head = memoryview(self._map)[_HEAD_OFFSET : _HEAD_OFFSET + 8].cast("Q")

    def _offset(self, seq: int) -> int:
        return _FIRST_SLOT + seq % self.slots * _SLOT_BYTES

    @property
    def _file_bytes(self) -> int:
        return _FIRST_SLOT + self.slots * _SLOT_BYTES

    def _open(self) -> bool:
        """Whether the file is there, ours and whole; only then is it mapped."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            if os.fstat(fd).st_size != self._file_bytes:
                return False
            self._map = mmap.mmap(fd, self._file_bytes)
        finally:
            os.close(fd)
        self._head = memoryview(self._map)[_HEAD_OFFSET : _HEAD_OFFSET + 8].cast("Q")
        if self._is_ours() and (not self.next_seq or self.last()):
            return True
        self.__exit__()
        return False

    def _is_ours(self) -> bool:
        magic, slots, slot_bytes, origin, stream = _HEADER.unpack_from(self._map)
        self.stream = stream.decode(errors="replace")
        return (magic, slots, slot_bytes, origin) == (_MAGIC, self.slots, _SLOT_BYTES, self._origin)

    def _create(self) -> None:
        """Written beside and moved into place, so that a half-made ring is never opened."""
        draft = self.path.with_suffix(".new")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._file_bytes)
            header = (_MAGIC, self.slots, _SLOT_BYTES, self._origin, secrets.token_hex(8).encode())
            os.pwrite(fd, _HEADER.pack(*header), 0)
            os.replace(draft, self.path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            megabytes = self._file_bytes / 1e6
            raise ConfigError(
                f"{self.path.parent} has no room for {megabytes:.0f} MB of sound: {error.strerror}; "
                "free some, or lower capture.ring_s"
            ) from None
        finally:
            os.close(fd)


@contextmanager
def beside(path: Path, source: str) -> Iterator[Ring]:
    """The ring as its writer changes it, only to be read. Raises OSError or ValueError when there is none."""
    ring = Ring(path, source, 0, "")
    ring.look_at()
    try:
        yield ring
    finally:
        ring.__exit__()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
