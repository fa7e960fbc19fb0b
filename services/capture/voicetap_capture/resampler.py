"""Brings a device's own rate to 16 kHz. Imported only for devices that cannot do 16 kHz themselves."""

import numpy
import soxr

from voicetap.messages import SAMPLE_RATE_HZ

_FULL_SCALE = 32768.0


class Resampler:
    """A stream: the filter's state is carried from block to block, so blocks leave no seams."""

    def __init__(self, from_hz: int):
        # HQ keeps 7 kHz whole and aliases nothing for 7 µs a frame; it holds back 40 ms.
        self._stream = soxr.ResampleStream(from_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def feed(self, pcm: bytes, last: bool = False) -> bytes:
        """What can be given so far; all that was held back with the `last` block, after which none may follow."""
        samples = numpy.frombuffer(pcm, "<i2").astype("float32") / _FULL_SCALE
        resampled = self._stream.resample_chunk(samples, last) * _FULL_SCALE
        return numpy.clip(numpy.rint(resampled), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()
