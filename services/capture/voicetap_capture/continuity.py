"""Notices sound that a device dropped without a word: its samples fall behind the clock, and stay there.

PortAudio's overflow flag is no help: it does not say how much was lost, and PyAudio throws the block away with it.
"""

from voicetap.messages import SAMPLE_RATE_HZ

WINDOW_NS = 2_000_000_000  # sound that is only late arrives within this
TOLERANCE_NS = 200_000_000  # a sound server may come to deliver later for good, by less than this
_SECOND_NS = 1_000_000_000


class Continuity:
    """Of one uninterrupted recording."""

    def __init__(self):
        self._origin_ns: int | None = None  # when sample 0 would have arrived; follows the device's drift
        self._samples = 0

    def missing(self, samples: int, now_ns: int) -> int:
        """Call with every block; the samples lost, once they are certainly not just late."""
        self._samples += samples
        elapsed_ns = now_ns - self._samples * _SECOND_NS // SAMPLE_RATE_HZ
        if self._origin_ns is None:
            self._origin_ns = elapsed_ns
            self._begin_window(now_ns)
        self._least_ns = min(self._least_ns, elapsed_ns)
        if now_ns < self._window_end_ns:
            return 0
        late_ns = self._least_ns - self._origin_ns
        self._origin_ns = self._least_ns
        self._begin_window(now_ns)
        return late_ns * SAMPLE_RATE_HZ // _SECOND_NS if late_ns > TOLERANCE_NS else 0

    def _begin_window(self, now_ns: int) -> None:
        self._window_end_ns = now_ns + WINDOW_NS
        self._least_ns = now_ns  # more than any sum of samples leaves
