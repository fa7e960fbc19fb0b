"""Puts the frames of a stream into order and finds the missing ones.

A late start, a restart and a dropped message are one case: frames that have not arrived yet.
"""

from collections import deque

from voicetap.messages import AudioFrame

REREQUEST_S = 0.1
MAX_REQUESTED = 256  # frames per request: the most that capture answers
MAX_AHEAD = 2000  # frames held while older ones are missing (64 s, 2 MB); later ones are fetched again


class ReorderBuffer:
    """The frames of one stream, from `next_seq` on."""

    def __init__(self, next_seq: int):
        self.next_seq = next_seq  # the first frame that is missing
        self.drops = 0
        self._head_seq = next_seq
        self._ready: deque[AudioFrame] = deque()
        self._ahead: dict[int, AudioFrame] = {}
        self._requested_to = next_seq
        self._requested_s = 0.0

    @property
    def ready_count(self) -> int:
        """The number of frames that `pop` can return."""
        return len(self._ready)

    @property
    def is_complete(self) -> bool:
        """Whether every frame of the ring has been popped."""
        return not self._ready and self.next_seq >= self._head_seq

    def add(self, frame: AudioFrame) -> None:
        """Adds a frame as it arrived; a duplicate is ignored."""
        if frame.seq < self.next_seq:
            return
        self._head_seq = max(self._head_seq, frame.seq + 1)
        is_full = len(self._ready) >= MAX_AHEAD or (len(self._ahead) >= MAX_AHEAD and frame.seq != self.next_seq)
        if is_full and frame.seq not in self._ahead:
            self.drops += 1
            return
        self._ahead[frame.seq] = frame
        self._advance()

    def pop(self, limit: int) -> list[AudioFrame]:
        """Removes and returns the next frames, in order, at most `limit`."""
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def on_head(self, first_seq: int, next_seq: int) -> None:
        """The ring holds `first_seq` up to, not including, `next_seq`. Older frames are lost and skipped."""
        self._head_seq = max(self._head_seq, next_seq)
        if first_seq > self.next_seq:
            self.next_seq = first_seq
            self._ahead = {seq: frame for seq, frame in self._ahead.items() if seq >= first_seq}
            self._advance()

    def next_request(self, now_s: float) -> tuple[int, int] | None:
        """The range of frames to request now, end excluded.

        A new hole is requested at once, as is the rest of an answered one; an unanswered one every REREQUEST_S.
        """
        if self.next_seq >= self._head_seq or len(self._ready) >= MAX_REQUESTED:
            return None
        if self.next_seq < self._requested_to and now_s - self._requested_s < REREQUEST_S:
            return None
        end = min(self._ahead, default=self._head_seq)
        self._requested_to, self._requested_s = min(end, self.next_seq + MAX_REQUESTED), now_s
        return self.next_seq, self._requested_to

    def _advance(self) -> None:
        while (frame := self._ahead.pop(self.next_seq, None)) is not None:
            self._ready.append(frame)
            self.next_seq += 1
