"""Where the sound comes from: a microphone, which waits for nobody, or a file."""

import random
from collections.abc import Callable

from voicetap.messages import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ

from .sound import Sound

WAIT_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
BUFFER = SAMPLE_RATE_HZ // 2  # samples a device holds for a process that does not come for them


class Room:
    """Where a microphone stands: what is said there is said once."""

    def __init__(self, sound: Sound, start_s: float):
        self.sound = sound
        self.start_s = start_s
        self.outages: list[tuple[float, float]] = []  # no microphone in between

    @property
    def samples(self) -> int:
        return len(self.sound.pcm) // SAMPLE_BYTES

    def sample_at(self, now_s: float) -> int:
        return min(self.samples, max(0, int((now_s - self.start_s) * SAMPLE_RATE_HZ)))

    def is_out(self, now_s: float) -> bool:
        return any(from_s <= now_s < to_s for from_s, to_s in self.outages)


class Microphone:
    """A source as capture's service wants it, opened now. Delivers blocks."""

    live, realtime = True, False

    def __init__(self, room: Room, now: Callable[[], float], dice: random.Random):
        self._room = room
        self._now = now
        self._block = dice.choice((160, 441, 512, 1024, 4096))
        self._origin = self._next = room.sample_at(now())
        self.state, self.detail = "live", ""

    def wait_s(self) -> float:
        return WAIT_S

    def close(self) -> None:
        """There is nothing to give back."""

    def read(self, max_bytes: int) -> bytes:
        now_s = self._now()
        at = self._room.sample_at(now_s)
        if self._room.is_out(now_s):
            self.state, self.detail = "lost", "no such device"
            self._origin = self._next = at
            return b""
        self.state, self.detail = "live", ""
        if at == self._room.samples:
            end = at
        else:
            end = self._origin + (at - self._origin) // self._block * self._block
        start = max(self._next, at - max(BUFFER, self._block))  # what nobody came for is gone
        end = min(end, start + max_bytes // SAMPLE_BYTES)
        if end <= start:
            self.state = "ended" if start >= self._room.samples else "live"
            return b""
        self._next = end
        self.state = "ended" if end == self._room.samples else "live"
        return self._room.sound.pcm[start * SAMPLE_BYTES : end * SAMPLE_BYTES]


class File:
    """A file from sample `position` on."""

    live, detail = False, ""

    def __init__(self, sound: Sound, position: int, realtime: bool):
        self._pcm = sound.pcm
        self._at = position * SAMPLE_BYTES
        self.realtime = realtime
        self.state = "live"

    def wait_s(self) -> float:
        return WAIT_S

    def close(self) -> None:
        """There is nothing to give back."""

    def read(self, max_bytes: int) -> bytes:
        pcm = self._pcm[self._at : self._at + max_bytes]
        self._at += len(pcm)
        if self._at >= len(self._pcm):
            self.state = "ended"
        return pcm
