"""When sound that is there may be read: at the speed of life where asked for, and never so far ahead of its
reader that the ring forgets what the reader still needs."""

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ

BURST_FRAMES = 64  # at most in one turn of the work loop, which has other things to do
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class Pace:
    """Of a source that could be read at once. Times are seconds of one monotonic clock."""

    def __init__(self, realtime: bool, slots: int, next_seq: int, now_s: float):
        self._realtime = realtime
        self._slots = slots
        self._start_seq = next_seq
        self._start_s = now_s
        self._limit_seq = slots // 2  # until the reader says how far it is

    def hear(self, needed_seq: int) -> None:
        """The reader may still ask for this frame."""
        self._limit_seq = needed_seq + self._slots - max(1, self._slots // 8)

    def frames_due(self, next_seq: int, now_s: float) -> int:
        room = self._limit_seq - next_seq
        if self._realtime:
            room = min(room, self._start_seq + int((now_s - self._start_s) / _FRAME_S) - next_seq)
        return max(0, min(room, BURST_FRAMES))

    def wait_s(self, next_seq: int, now_s: float) -> float:
        """How long to wait for the next frame; the reader's word ends the wait earlier."""
        if next_seq >= self._limit_seq:
            return _FRAME_S
        if not self._realtime:
            return 0.0
        return max(0.0, self._start_s + (next_seq + 1 - self._start_seq) * _FRAME_S - now_s)
