"""Puts frames into strict order and says which are missing.

A late start, a restart and a drop are the same thing here: frames that are not there yet.
"""

from collections import deque

from voicetap.messages import AudioFrame

ASK_AGAIN_S = 0.1
MAX_ASKED = 256  # frames of one request: what capture answers at most
MAX_AHEAD = 2000  # frames held while older ones are missing (64 s, 2 MB); what is beyond is fetched later


class Order:
    """The frames of one stream, from `next_seq` on."""

    def __init__(self, next_seq: int):
        self.next_seq = next_seq  # the first that is not here
        self.drops = 0
        self._head_seq = next_seq
        self._ready: deque[AudioFrame] = deque()
        self._ahead: dict[int, AudioFrame] = {}
        self._asked_to = next_seq
        self._asked_s = 0.0

    @property
    def waiting(self) -> int:
        """Frames that can be taken."""
        return len(self._ready)

    @property
    def complete(self) -> bool:
        """Whether all there is has been taken."""
        return not self._ready and self.next_seq >= self._head_seq

    def offer(self, frame: AudioFrame) -> None:
        """A frame as it came; one that is here already is ignored."""
        if frame.seq < self.next_seq:
            return
        self._head_seq = max(self._head_seq, frame.seq + 1)
        full = len(self._ready) >= MAX_AHEAD or (len(self._ahead) >= MAX_AHEAD and frame.seq != self.next_seq)
        if full and frame.seq not in self._ahead:
            self.drops += 1
            return
        self._ahead[frame.seq] = frame
        self._advance()

    def take(self, limit: int) -> list[AudioFrame]:
        """The next frames, in order."""
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def hear_head(self, first_seq: int, next_seq: int) -> None:
        """What the ring holds. Frames older than that will never come and are passed over."""
        self._head_seq = max(self._head_seq, next_seq)
        if first_seq > self.next_seq:
            self.next_seq = first_seq
            self._ahead = {seq: frame for seq, frame in self._ahead.items() if seq >= first_seq}
            self._advance()

    def missing(self, now_s: float) -> tuple[int, int] | None:
        """The range to ask for now: at once when one is found or answered, then every ASK_AGAIN_S."""
        if self.next_seq >= self._head_seq or len(self._ready) >= MAX_ASKED:
            return None
        if self.next_seq < self._asked_to and now_s - self._asked_s < ASK_AGAIN_S:
            return None
        end = min(self._ahead, default=self._head_seq)
        self._asked_to, self._asked_s = min(end, self.next_seq + MAX_ASKED), now_s
        return self.next_seq, self._asked_to

    def _advance(self) -> None:
        while (frame := self._ahead.pop(self.next_seq, None)) is not None:
            self._ready.append(frame)
            self.next_seq += 1
