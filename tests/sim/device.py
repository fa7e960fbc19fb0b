"""Simulated audio sources, as capture's AudioSource: a microphone, whose audio is lost unless read, and a file."""

import random
from collections.abc import Callable

from voicetap.messages import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from voicetap.vocabulary import SourceStatus

from .sound import Sound

WAIT_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
BUFFER_SAMPLES = SAMPLE_RATE_HZ // 2  # that a device keeps until they are read


class Room:
    """The place of a microphone: its sound is there once, at its time."""

    def __init__(self, sound: Sound, start_s: float):
        self.sound = sound
        self.start_s = start_s
        self.outages: list[tuple[float, float]] = []  # from and to when the microphone is unplugged

    @property
    def samples(self) -> int:
        return len(self.sound.pcm) // SAMPLE_BYTES

    def sample_at(self, now_s: float) -> int:
        return min(self.samples, max(0, int((now_s - self.start_s) * SAMPLE_RATE_HZ)))

    def is_unplugged(self, now_s: float) -> bool:
        return any(from_s <= now_s < to_s for from_s, to_s in self.outages)


class Microphone:
    """A live source, opened now. Delivers blocks of a size that differs between devices."""

    live, realtime, note, jump, is_starting = True, False, "", None, False

    def __init__(self, room: Room, now: Callable[[], float], dice: random.Random):
        self._room = room
        self._now = now
        self._block = dice.choice((160, 441, 512, 1024, 4096))
        self._origin = self._next = room.sample_at(now())
        self.state, self.detail = SourceStatus.LIVE, ""
        self.read_s = now()  # of the last read

    def wait_s(self) -> float:
        return WAIT_S

    def close(self) -> None:
        """Nothing to release."""

    def read(self, max_bytes: int) -> bytes:
        self.read_s = now_s = self._now()
        at = self._room.sample_at(now_s)
        if self._room.is_unplugged(now_s):
            self.state, self.detail = SourceStatus.LOST, "no such device"
            self._origin = self._next = at
            return b""
        self.state, self.detail = SourceStatus.LIVE, ""
        if at == self._room.samples:
            end = at
        else:
            end = self._origin + (at - self._origin) // self._block * self._block
        start = max(self._next, at - max(BUFFER_SAMPLES, self._block))  # older samples were overwritten
        end = min(end, start + max_bytes // SAMPLE_BYTES)
        if end <= start:
            self.state = SourceStatus.ENDED if start >= self._room.samples else SourceStatus.LIVE
            return b""
        self._next = end
        self.state = SourceStatus.ENDED if end == self._room.samples else SourceStatus.LIVE
        return self._room.sound.pcm[start * SAMPLE_BYTES : end * SAMPLE_BYTES]


class File:
    """A file, from sample `position` on."""

    live, detail, note, jump, is_starting = False, "", "", None, False

    def __init__(self, sound: Sound, position: int, realtime: bool):
        self._pcm = sound.pcm
        self._at = position * SAMPLE_BYTES
        self.realtime = realtime
        self.read_s = 0.0  # a file loses nothing, at no time
        self.state = SourceStatus.LIVE

    def wait_s(self) -> float:
        return WAIT_S

    def close(self) -> None:
        """Nothing to release."""

    def read(self, max_bytes: int) -> bytes:
        pcm = self._pcm[self._at : self._at + max_bytes]
        self._at += len(pcm)
        if self._at >= len(self._pcm):
            self.state = SourceStatus.ENDED
        return pcm
