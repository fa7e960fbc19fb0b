"""The ring: the last minutes of one source in a memory-mapped file that outlives the process.

Also what is read from it: frames for a ReplayRequest, and a survey of all rings for `voicetap audit`.

A slot is written first, then the head, as one aligned 8-byte store: a process killed in between leaves a torn slot
beyond the head, which is never read. The file is allocated, not sparse: a store into a page that a full tmpfs cannot
provide would raise SIGBUS. A file of another format, or a damaged one, is replaced by a new stream.
"""

import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame, ReplayRequest
from voicetap.service.failpoint import failpoint
from voicetap.vocabulary import Reason

MAX_REPLAY_FRAMES = 256  # per request: the reader requests again, and so controls the flow
_PREFIX, _SUFFIX = "audio-", ".ring"  # of the file name, around the name of the source
_MAGIC = b"vtring01"
_HEADER = struct.Struct("<8sQQ16s16s")  # magic, slots, bytes of a slot, digest of the origin, stream
_CRC = struct.Struct("<I")
_META = struct.Struct("<QQQQ28s")  # seq, position, captured_ns, wall_ns, gap_reason
_HEAD_OFFSET = 128  # of next_seq; a multiple of 8
_FIRST_SLOT = mmap.PAGESIZE
_SLOT_BYTES = _CRC.size + _META.size + FRAME_BYTES


class Ring:
    """Frames `first_seq` up to, not including, `next_seq`. Open it in a `with`; the only writer.

    `origin` describes the source: the ring of another origin, or of another boot of the host (whose monotonic clock
    was another one), is not continued but replaced. Raises ConfigError if there is no room for the file.
    """

    def __init__(self, path: Path, source: str, seconds: float, origin: str):
        self.path = path
        self.slots = max(2, round(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES))
        self._source = source
        self._origin = zlib.crc32(os.fsencode(f"{_boot_id()} {origin}")).to_bytes(16, "little")

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
        return max(0, self.next_seq - self.slots + 1)  # one slot may be torn: the next one to be written

    def last(self) -> AudioFrame | None:
        return self.read(self.next_seq - 1) if self.next_seq else None

    def commit(self, frame: AudioFrame) -> None:
        """Once this returns, the frame survives the process. `frame.seq` must be `next_seq`."""
        meta = (frame.seq, frame.position, frame.captured_ns, frame.wall_ns, frame.gap_reason.encode())
        body = _META.pack(*meta) + frame.pcm
        offset = self._offset(frame.seq)
        self._map[offset : offset + _SLOT_BYTES] = _CRC.pack(zlib.crc32(body)) + body
        failpoint("capture.slot.written")
        self._head[0] = frame.seq + 1
        self.next_position = frame.position + FRAME_SAMPLES

    def read(self, seq: int) -> AudioFrame | None:
        """Frame `seq`, which must be in the ring; None if it is damaged."""
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

    def open_readonly(self) -> None:
        """Maps the file of another process. Raises OSError or ValueError if it is missing or no ring."""
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
        """Maps the file if it exists, is of this origin and format, and is whole; False otherwise."""
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
        """Writes a draft and moves it into place, so that an incomplete ring is never opened.

        The file that it replaces is removed first: there may not be room for both.
        """
        draft = self.path.with_suffix(".new")
        self.path.unlink(missing_ok=True)
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


def ring_path(runtime_dir: Path | str, source: str) -> Path:
    return Path(runtime_dir, f"{_PREFIX}{source}{_SUFFIX}")


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


# ---- replay --------------------------------------------------------------------------------------


def replay_span(request: ReplayRequest, first_seq: int, next_seq: int) -> range:
    """The requested frames that the ring holds, oldest first, at most MAX_REPLAY_FRAMES."""
    start = max(request.from_seq, first_seq)
    return range(start, min(request.to_seq, next_seq, start + MAX_REPLAY_FRAMES))


def replay_frames(seqs: range, read: Callable[[int], AudioFrame | None]) -> Iterator[AudioFrame]:
    """The frames, with silence in place of a damaged one: the reader would request a missing one for ever."""
    previous = read(seqs.start - 1) if seqs.start else None
    for seq in seqs:
        frame = read(seq) or _silence(seq, previous)
        if frame:
            yield frame
        previous = frame


def _silence(seq: int, previous: AudioFrame | None) -> AudioFrame | None:
    if previous is None:
        return None
    position = previous.position + FRAME_SAMPLES
    return replace(previous, seq=seq, position=position, pcm=bytes(FRAME_BYTES), gap_reason=Reason.DAMAGED)


# ---- survey --------------------------------------------------------------------------------------


@dataclass
class RingSurvey:
    """What one ring holds: frames `first_seq` up to, not including, `next_seq`.

    `runs` are lists of (seq, position, frames) without a jump in position; `damaged` are the seqs of damaged frames.
    """

    source: str
    stream: str
    first_seq: int
    next_seq: int
    runs: list[list[int]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)


def survey_all(runtime_dir: Path) -> list[RingSurvey]:
    """One survey of every ring, read while their writers run undisturbed. Raises ValueError for a file that is none."""
    return [_survey(path) for path in sorted(runtime_dir.glob(f"{_PREFIX}*{_SUFFIX}"))]


def _survey(path: Path) -> RingSurvey:
    source = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    with _readonly(path, source) as ring:
        survey = RingSurvey(source, ring.stream, ring.first_seq, ring.next_seq)
        for seq in range(survey.first_seq, survey.next_seq):
            _add_frame(survey, ring, seq)
        survey.first_seq = ring.first_seq  # what was overwritten meanwhile is neither held nor damaged
    survey.damaged = [seq for seq in survey.damaged if seq >= survey.first_seq]
    return survey


@contextmanager
def _readonly(path: Path, source: str) -> Iterator[Ring]:
    ring = Ring(path, source, 0, "")
    ring.open_readonly()
    try:
        yield ring
    finally:
        ring.__exit__()


def _add_frame(survey: RingSurvey, ring: Ring, seq: int) -> None:
    if not (frame := ring.read(seq)):
        survey.damaged.append(seq)
    elif survey.runs and _continues(survey.runs[-1], seq, frame.position):
        survey.runs[-1][2] += 1
    else:
        survey.runs.append([seq, frame.position, 1])


def _continues(run: list[int], seq: int, position: int) -> bool:
    first_seq, first_position, frames = run
    return seq == first_seq + frames and position == first_position + frames * FRAME_SAMPLES
