"""Resampling by soxr, to 16 kHz. The only file that imports soxr."""

from voicetap.messages import SAMPLE_RATE_HZ

_FULL_SCALE = 32768.0


class Resampler:
    """From a device's own rate to 16 kHz. The filter's state is kept between blocks, so that blocks leave no seams."""

    def __init__(self, from_hz: int):
        import soxr  # with numpy 0.1 s of start-up, which most devices do not need

        # HQ passes up to 7 kHz and aliases nothing, for 7 µs a frame; it delays by 40 ms.
        self._stream = soxr.ResampleStream(from_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def resample(self, pcm: bytes, last: bool = False) -> bytes:
        """The output available so far; with the `last` block all of it, after which none may follow."""
        import numpy

        samples = numpy.frombuffer(pcm, "<i2").astype("float32") / _FULL_SCALE
        resampled = self._stream.resample_chunk(samples, last) * _FULL_SCALE
        return numpy.clip(numpy.rint(resampled), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()
