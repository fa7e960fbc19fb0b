"""A recording device as a live source: closed when it fails or falls silent, and reopened until it is back.

It is opened in another thread, and then used by the work loop alone.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap.vocabulary import SourceStatus

from .opening import Opening

POLL_S = 0.002  # between two polls for a block that is overdue
EARLY_S = 0.0002  # expect the next block this early, or one late block shifts the schedule for good
QUICK_RETRIES_S = 10.0  # most devices are back within this: a replugged cable, a restarted sound server
QUICK_WAIT_S = 0.15
FIRST_WAIT_S = 0.25  # after the quick retries
OPENING_POLL_S = 0.01
OPENING_S = 5.0  # most devices are open after 0.1 s; from here on it is published that this one is waited for
ABANDON_S = 0.2  # at the end, for a device that is being opened
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ

log = logging.getLogger("capture")


class RecordingDevice(Protocol):
    """An open device. `read` never waits; it raises OSError once the device is gone.

    `warning` is a text for users about a device that works, or empty; `note` says which channel is used. `flush`
    returns what filters held back.
    """

    name: str
    warning: str
    note: str

    def read(self) -> bytes: ...
    def flush(self) -> bytes: ...
    def close(self) -> None: ...


class ReopenBackoff:
    """Waits between tries to open a lost device: short ones for QUICK_RETRIES_S, then doubled ones up to `max_s`."""

    def __init__(self, max_s: float):
        self._max_s = max_s
        self.reset()

    def reset(self) -> None:
        self._waited_s = 0.0
        self._next_s = FIRST_WAIT_S

    def next_wait_s(self) -> float:
        """The wait after another failure."""
        if self._waited_s < QUICK_RETRIES_S:
            self._waited_s += QUICK_WAIT_S
            return min(QUICK_WAIT_S, self._max_s)
        wait_s = min(self._next_s, self._max_s)
        self._next_s = wait_s * 2
        return wait_s


class LiveDevice:
    """An AudioSource over `open_device`. While there is no device, `state` is lost and `read` returns b""."""

    live = True
    realtime = False
    jump = None

    def __init__(
        self,
        open_device: Callable[[], RecordingDevice],
        device_timeout_s: float,
        retry_max_s: float,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.state = SourceStatus.LIVE  # until the first try fails, or takes long: a start is not a loss
        self.detail = ""
        self._open_device = open_device
        self._device_timeout_s = device_timeout_s
        self._backoff = ReopenBackoff(retry_max_s)
        self._clock = clock
        self._name = name
        self._device: RecordingDevice | None = None
        self._opening: Opening[RecordingDevice] | None = None
        self._opening_since_s = 0.0
        self._has_tried = False  # to open it, and how that ended is known
        self._has_delivered = False  # since it was opened
        self._retry_at_s = 0.0
        self._received_s = 0.0
        self._due_s = 0.0  # when the next block is expected

    @property
    def note(self) -> str:
        return self._device.note if self._device else ""

    @property
    def is_starting(self) -> bool:
        """Whether the device is being opened for the first time, and not yet for long."""
        return not self._has_tried

    def close(self) -> None:
        if self._opening:
            self._opening.abandon(ABANDON_S)
        device, self._device, self._opening = self._device, None, None
        if device:
            device.close()

    def read(self, max_bytes: int) -> bytes:
        """All there is, whatever `max_bytes`: audio left in a device is soon overwritten."""
        now_s = self._clock()
        if not self._device:
            self._open(now_s)
            return b""
        try:
            pcm = self._device.read()
        except OSError as error:
            return self._on_lost(str(error))
        if pcm:
            self._received_s = now_s
            self._on_audio()
        elif now_s - self._received_s > self._device_timeout_s:
            return self._on_lost(f"no sound from {self._device.name!r} for {self._device_timeout_s:g} s")
        self._schedule(pcm, now_s)
        if self.state == SourceStatus.LIVE:
            self._update_detail(self._device.warning)
        return pcm

    def wait_s(self) -> float:
        now_s = self._clock()
        if self._opening:
            return OPENING_POLL_S
        if not self._device:
            return max(0.0, self._retry_at_s - now_s)
        return max(0.0, self._due_s - now_s)

    def _schedule(self, pcm: bytes, now_s: float) -> None:
        """Expects one block per frame. Two frames or more in one read are a backlog, useless for timing."""
        if 0 < len(pcm) < 2 * FRAME_BYTES:
            self._due_s = min(self._due_s, now_s) + _FRAME_S - EARLY_S
        elif self._due_s <= now_s:
            self._due_s = now_s + POLL_S

    def _open(self, now_s: float) -> None:
        if not self._opening:
            if now_s < self._retry_at_s:
                return
            self._opening, self._opening_since_s = Opening(self._open_device), now_s
        try:
            device = self._opening.poll()
        except OSError as error:
            self._opening, self._has_tried = None, True
            self._retry_later(str(error))
            return
        if device:
            self._device, self._opening, self._has_tried = device, None, True
            self._received_s = self._clock()
        elif now_s - self._opening_since_s > OPENING_S:
            self._has_tried = True
            self._set_lost(f"waiting for {self._name or 'the default microphone'} to open")

    def _on_audio(self) -> None:
        if not self._has_delivered:
            log.info("listening to %r", self._device.name)
            self._has_delivered = True
            self.state, self.detail = SourceStatus.LIVE, ""
            self._backoff.reset()

    def _update_detail(self, warning: str) -> None:
        if warning != self.detail:
            self.detail = warning
            log.warning("%s", warning or f"listening to {self._device.name!r} again")

    def _on_lost(self, detail: str) -> bytes:
        """Closes the device; returns the last of its audio."""
        self._has_delivered = False
        rest = self._device.flush()
        self.close()
        self._retry_later(detail)
        return rest

    def _retry_later(self, detail: str) -> None:
        self._set_lost(f"{detail}; trying again until it is there", detail)
        self._retry_at_s = self._clock() + self._backoff.next_wait_s()

    def _set_lost(self, line: str, detail: str = "") -> None:
        """Logs the line once."""
        lost = (SourceStatus.LOST, detail or line)
        if (self.state, self.detail) != lost:
            log.warning("%s", line)
        self.state, self.detail = lost
