"""Cuts sound that arrives in blocks of any size into numbered frames, and places them on the stream's clock."""

from collections.abc import Iterator

from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ, AudioFrame

_SECOND_NS = 1_000_000_000


class Framer:
    """Goes on after `last`, the last frame of the stream; from its beginning without one."""

    def __init__(self, source: str, stream: str, last: AudioFrame | None):
        self._source = source
        self._stream = stream
        self._next_seq = last.seq + 1 if last else 0
        self._next_position = last.position + FRAME_SAMPLES if last else 0
        self._last_ns = last.captured_ns if last else None
        self._rest = b""
        self._rest_clocks = (0, 0)  # captured_ns and wall_ns of its last sample
        self._gap_reason = ""

    def feed(self, pcm: bytes, captured_ns: int, wall_ns: int) -> Iterator[AudioFrame]:
        """The frames that `pcm` completes. The clocks are those of its last sample."""
        self._rest += pcm
        self._rest_clocks = (captured_ns, wall_ns)
        while len(self._rest) >= FRAME_BYTES:
            block, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
            age_ns = _duration_ns(self._rest)
            yield self._frame(block, captured_ns - age_ns, wall_ns - age_ns)

    def flush(self, tail: bytes = b"") -> Iterator[AudioFrame]:
        """The rest and `tail`, which directly follows it, with silence up to the end of a frame."""
        if not (self._rest or tail):
            return
        padding = bytes(-(len(self._rest) + len(tail)) % FRAME_BYTES)
        captured_ns, wall_ns = self._rest_clocks
        late_ns = _duration_ns(tail + padding)
        yield from self.feed(tail + padding, captured_ns + late_ns, wall_ns + late_ns)

    def bridge(self, pcm: bytes, captured_ns: int, reason: str) -> int:
        """Before feeding `pcm`, the first sound after a loss: moves the position over what was not heard.

        Returns the missing samples. Only between frames: flush first.
        """
        if self._last_ns is None:
            return 0
        missing_ns = captured_ns - _duration_ns(pcm) - self._last_ns
        missing = max(0, missing_ns) * SAMPLE_RATE_HZ // _SECOND_NS
        self.skip(missing, reason)
        return missing

    def skip(self, samples: int, reason: str) -> None:
        """Moves the position of the next frame over `samples` that were not heard."""
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


def _duration_ns(pcm: bytes) -> int:
    return len(pcm) // SAMPLE_BYTES * FRAME_NS // FRAME_SAMPLES
