"""Where decoded audio belongs in time, from the timestamps of its container: so that holes in it are noticed."""

from dataclasses import dataclass

from voicetap.vocabulary import Reason

HOLE_S = 0.2  # timestamps are rounded, and drift; what deviates by less is no hole
PAGE_S = 1.5  # of Ogg, whose packets of one page have the same position
MAX_HOLE_S = 24 * 3600.0  # what deviates by more is a broken timestamp
# A stream without a container: its timestamps count the frames that are found, whatever lies between them.
ELEMENTARY_FORMATS = ("mp3", "aac", "ac3", "eac3", "dts", "amr")


@dataclass(frozen=True)
class Hole:
    """There is no audio in this part of the file, for a Reason: damaged or paused."""

    start_s: float
    end_s: float
    reason: str


class Timeline:
    """Places decoded frames. Seconds count from the start of the file.

    `is_elementary`: the format is one of ELEMENTARY_FORMATS. `is_alone`: all bytes of the file are of this stream.
    """

    def __init__(self, is_elementary: bool, is_alone: bool):
        self._is_elementary = is_elementary
        self._is_alone = is_alone
        self._shift_s = 0.0  # from timestamps to seconds of the file
        self._end_s = 0.0
        self._is_damaged = False  # since the last frame
        self._packet: tuple[int, int] | None = None  # position and size of the one that is being placed
        self._next_byte = 0  # behind the last packet that was placed
        self._placed_bytes = 0
        self._placed_s = 0.0
        self._skipped_bytes = 0  # between the last packets, and where that was
        self._skipped_at_s = 0.0

    def on_packet(self, byte: int | None, size: int, is_damaged: bool) -> None:
        """A packet that is at `byte` of the file; the next frames are those decoded from it, if it could be."""
        self._packet = None if byte is None else (byte, size)
        self._is_damaged = self._is_damaged or is_damaged

    def place(self, timestamp_s: float | None, duration_s: float) -> Hole | None:
        """Call with every frame, in order. Returns the hole before it, if there is one."""
        if timestamp_s is None:
            self._end_s += duration_s
            return None
        self._skip_bytes()
        late_s = self._late_s(timestamp_s)
        hole = Hole(self._end_s, self._end_s + late_s, self._reason(late_s)) if late_s > HOLE_S else None
        self._end_s += duration_s + (late_s if hole else 0.0)
        self._placed_s += duration_s
        self._is_damaged = False
        return hole

    def _skip_bytes(self) -> None:
        """Measures what lies between the packets. In Ogg only every page has a position."""
        if self._packet:
            byte, size = self._packet
            skipped = byte - self._next_byte if self._next_byte else 0
            if skipped > 0 or self._end_s - self._skipped_at_s > PAGE_S:
                self._skipped_bytes, self._skipped_at_s = max(0, skipped), self._end_s
            self._next_byte = byte + size
            self._placed_bytes += size
            self._packet = None

    def _late_s(self, timestamp_s: float) -> float:
        """How much later than the end of the last frame this one begins."""
        late_s = timestamp_s + self._shift_s - self._end_s
        if self._is_elementary and self._is_damaged:
            self._shift_s += self._skipped_s - late_s
            late_s = self._skipped_s
        if -HOLE_S <= late_s <= MAX_HOLE_S:
            return late_s
        self._shift_s -= late_s  # the timestamps start anew, as in files joined together
        return 0.0

    @property
    def _skipped_s(self) -> float:
        """How long the bytes that were skipped would have been, at the mean bit rate."""
        return self._skipped_bytes * self._placed_s / self._placed_bytes if self._placed_bytes else 0.0

    def _reason(self, late_s: float) -> str:
        is_damaged = self._is_damaged or (self._is_alone and self._skipped_s > late_s / 2)
        return Reason.DAMAGED if is_damaged else Reason.PAUSED
