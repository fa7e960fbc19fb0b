"""Rate control for files and pipes.

Real-time pacing, and back-pressure so that the ring never overwrites what vad still needs.
"""

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ

BURST_FRAMES = 64  # at most per iteration of the work loop, which has other work
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class RateControl:
    """Decides how many frames may be read from a source that is not live. Times are seconds of one monotonic clock."""

    def __init__(self, realtime: bool, slots: int, next_seq: int, now_s: float):
        self._realtime = realtime
        self._slots = slots  # of the ring
        self._start_seq = next_seq
        self._start_s = now_s
        self._limit_seq = slots // 2  # until the first AudioProgress

    def on_progress(self, needed_seq: int) -> None:
        """The reader may still request frame `needed_seq` and all after it."""
        self._limit_seq = needed_seq + self._slots - max(1, self._slots // 8)

    def frames_due(self, next_seq: int, now_s: float) -> int:
        room = self._limit_seq - next_seq
        if self._realtime:
            room = min(room, self._start_seq + int((now_s - self._start_s) / _FRAME_S) - next_seq)
        return max(0, min(room, BURST_FRAMES))

    def wait_s(self, next_seq: int, now_s: float) -> float:
        """Seconds until a frame is due; a progress message may end the wait earlier."""
        if next_seq >= self._limit_seq:
            return _FRAME_S
        if not self._realtime:
            return 0.0
        return max(0.0, self._start_s + (next_seq + 1 - self._start_seq) * _FRAME_S - now_s)
