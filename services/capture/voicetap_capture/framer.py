"""Divides audio blocks of any size into numbered frames, and accounts for audio that was lost in between."""

from collections.abc import Iterator

from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ, AudioFrame

WINDOW_NS = 2_000_000_000  # audio that is only late arrives within this
TOLERANCE_NS = 200_000_000  # a sound server's latency may grow for good, by less than this
DRIFT = 0.001  # of time: more than the clocks of real devices deviate from the host's
_SECOND_NS = 1_000_000_000


class Framer:
    """Numbers the frames of one stream. Continues after `last`, its last frame; without one, it starts at 0."""

    def __init__(self, source: str, stream: str, last: AudioFrame | None):
        self._source = source
        self._stream = stream
        self._next_seq = last.seq + 1 if last else 0
        self._next_position = last.position + FRAME_SAMPLES if last else 0
        self._last_ns = last.captured_ns if last else None
        self._rest = b""
        self._rest_clocks = (0, 0)  # captured_ns and wall_ns of its last sample
        self._gap_reason = ""

    def add(self, pcm: bytes, captured_ns: int, wall_ns: int) -> Iterator[AudioFrame]:
        """Yields the frames that `pcm` completes. The clock times are those of its last sample."""
        self._rest += pcm
        self._rest_clocks = (captured_ns, wall_ns)
        while len(self._rest) >= FRAME_BYTES:
            block, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
            age_ns = _duration_ns(self._rest)
            yield self._frame(block, captured_ns - age_ns, wall_ns - age_ns)

    def flush(self, tail: bytes = b"") -> Iterator[AudioFrame]:
        """Yields the rest and `tail`, which directly follows it, padded with silence to whole frames."""
        if not (self._rest or tail):
            return
        padding = bytes(-(len(self._rest) + len(tail)) % FRAME_BYTES)
        captured_ns, wall_ns = self._rest_clocks
        late_ns = _duration_ns(tail + padding)
        yield from self.add(tail + padding, captured_ns + late_ns, wall_ns + late_ns)

    def skip_gap_before(self, pcm: bytes, captured_ns: int, reason: str) -> int:
        """Moves the position over the time between the last frame and `pcm`, which is to be added next.

        Returns the missing samples. Only between frames: flush first.
        """
        if self._last_ns is None:
            return 0
        missing_ns = captured_ns - _duration_ns(pcm) - self._last_ns
        missing = max(0, missing_ns) * SAMPLE_RATE_HZ // _SECOND_NS
        self.skip(missing, reason)
        return missing

    def skip_to(self, position: int, reason: str) -> None:
        """Moves the position of the next frame to `position`. Only between frames: flush first."""
        self.skip(max(0, position - self._next_position), reason)

    def skip(self, samples: int, reason: str) -> None:
        """Moves the position of the next frame over `samples` that were lost."""
        self._next_position += samples
        self._gap_reason = reason if samples else self._gap_reason

    def _frame(self, pcm: bytes, captured_ns: int, wall_ns: int) -> AudioFrame:
        frame = AudioFrame(
            source=self._source,
            stream=self._stream,
            seq=self._next_seq,
            position=self._next_position,
            captured_ns=captured_ns,
            wall_ns=wall_ns,
            pcm=pcm,
            gap_reason=self._gap_reason,
        )
        self._next_seq += 1
        self._next_position += FRAME_SAMPLES
        self._last_ns = captured_ns
        self._gap_reason = ""
        return frame


class DropDetector:
    """Detects audio that a device dropped silently: its sample count falls behind the clock, and stays there.

    A loss in one piece is noticed once it exceeds TOLERANCE_NS, a steady one above DRIFT whenever it adds up to that.
    PortAudio's overflow flag does not help: it has no sample count, and PyAudio discards the block with it.
    One detector per uninterrupted recording.
    """

    def __init__(self):
        self._origin_ns: int | None = None  # when sample 0 would have arrived; follows the drift of the device's clock
        self._samples = 0
        self._as_drift_ns = 0  # that the origin was moved since audio is late by more than drift explains

    def update(self, samples: int, now_ns: int) -> int:
        """Call with every block. Returns the samples lost, once they are certainly not just late; else 0."""
        self._samples += samples
        elapsed_ns = now_ns - self._samples * _SECOND_NS // SAMPLE_RATE_HZ
        if self._origin_ns is None:
            self._origin_ns = elapsed_ns
            self._start_window(now_ns)
        self._least_ns = min(self._least_ns, elapsed_ns)
        if now_ns < self._window_end_ns:
            return 0
        drift_ns = int((now_ns - self._window_end_ns + WINDOW_NS) * DRIFT)
        late_ns = self._least_ns - self._origin_ns
        self._start_window(now_ns)
        return self._lost_ns(late_ns, drift_ns) * SAMPLE_RATE_HZ // _SECOND_NS

    def _lost_ns(self, late_ns: int, drift_ns: int) -> int:
        """Moves the origin: as far as drift explains, and over a loss, which is returned."""
        if late_ns <= drift_ns:
            self._origin_ns += late_ns
            self._as_drift_ns = 0
            return 0
        if late_ns <= TOLERANCE_NS:  # the latency has grown, or audio is being lost
            self._origin_ns += drift_ns
            self._as_drift_ns += drift_ns
            return 0
        self._origin_ns += late_ns
        lost_ns, self._as_drift_ns = late_ns + self._as_drift_ns, 0
        return lost_ns

    def _start_window(self, now_ns: int) -> None:
        self._window_end_ns = now_ns + WINDOW_NS
        self._least_ns = now_ns  # an upper bound of elapsed_ns


def _duration_ns(pcm: bytes) -> int:
    return len(pcm) // SAMPLE_BYTES * FRAME_NS // FRAME_SAMPLES
