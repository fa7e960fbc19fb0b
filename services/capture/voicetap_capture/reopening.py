"""A live source: a device that may vanish at any moment, and is opened anew for as long as it takes."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ

from .backoff import Backoff

POLL_S = 0.002  # between two looks for a block that is overdue
EARLIER_S = 0.0002  # a block is expected than the last one came: else the latest of all would set the time
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ

log = logging.getLogger("capture")


class Device(Protocol):
    """Something that records. `read` raises OSError once it is gone. `remark`: what people should know about it."""

    name: str
    remark: str

    def read(self) -> bytes: ...
    def tail(self) -> bytes: ...
    def close(self) -> None: ...


class Reopening:
    """`read` never raises and never waits: while the device is away it is b"", and `state` is lost."""

    live = True
    realtime = False

    def __init__(
        self,
        open_device: Callable[[], Device],
        device_timeout_s: float,
        retry_max_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.state = "live"  # until the first try fails: a start is not a loss
        self.detail = ""
        self._open_device = open_device
        self._device_timeout_s = device_timeout_s
        self._backoff = Backoff(retry_max_s)
        self._clock = clock
        self._device: Device | None = None
        self._is_heard = False
        self._retry_at_s = 0.0
        self._heard_s = 0.0
        self._due_s = 0.0  # when the next sound may be there

    def close(self) -> None:
        device, self._device = self._device, None
        if device:
            device.close()

    def read(self, max_bytes: int) -> bytes:
        """All there is, whatever `max_bytes`: sound left in a device is soon overwritten."""
        now_s = self._clock()
        if not self._device:
            if now_s >= self._retry_at_s:
                self._try_to_open(now_s)
            return b""
        try:
            pcm = self._device.read()
        except OSError as error:
            return self._lose(str(error))
        if pcm:
            self._heard_s = now_s
            self._come_alive()
        elif now_s - self._heard_s > self._device_timeout_s:
            return self._lose(f"no sound from {self._device.name!r} for {self._device_timeout_s:g} s")
        self._expect(pcm, now_s)
        if self.state == "live":
            self._notice(self._device.remark)
        return pcm

    def wait_s(self) -> float:
        """Until there may be something to read."""
        now_s = self._clock()
        if not self._device:
            return max(0.0, self._retry_at_s - now_s)
        return max(0.0, self._due_s - now_s)

    def _expect(self, pcm: bytes, now_s: float) -> None:
        """Sound comes in blocks, one a frame; with more than one at a time there is a backlog."""
        if 0 < len(pcm) < 2 * FRAME_BYTES:
            self._due_s = min(self._due_s, now_s) + _FRAME_S - EARLIER_S
        elif self._due_s <= now_s:
            self._due_s = now_s + POLL_S

    def _try_to_open(self, now_s: float) -> None:
        try:
            self._device = self._open_device()
            self._heard_s = self._clock()
        except OSError as error:
            self._retry_later(str(error))

    def _come_alive(self) -> None:
        if not self._is_heard:
            log.info("listening to %r", self._device.name)
            self._is_heard = True
            self.state, self.detail = "live", ""
            self._backoff.reset()

    def _notice(self, remark: str) -> None:
        if remark != self.detail:
            self.detail = remark
            log.warning("%s", remark or f"listening to {self._device.name!r} again")

    def _lose(self, detail: str) -> bytes:
        self._is_heard = False
        tail = self._device.tail()
        self.close()
        self._retry_later(detail)
        return tail

    def _retry_later(self, detail: str) -> None:
        if (self.state, self.detail) != ("lost", detail):
            log.warning("%s; trying again until it is there", detail)
        self.state, self.detail = "lost", detail
        self._retry_at_s = self._clock() + self._backoff.next_wait_s()
