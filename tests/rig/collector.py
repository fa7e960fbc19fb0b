"""Collects the messages of a Tap until a condition holds."""

import time
from collections.abc import Callable
from typing import TypeVar

from voicetap import Tap
from voicetap.tap import TapMessage

from .processes import eventually

T = TypeVar("T")

QUIET_S = 0.02  # without a message: what was published is read


class TapCollector:
    """Everything a tap has delivered so far, with times of receipt (monotonic seconds)."""

    def __init__(self, tap: Tap):
        self._tap = tap
        self.messages: list[TapMessage] = []
        self.received_s: list[float] = []  # of each message

    def poll(self, timeout_s: float = QUIET_S) -> None:
        """Reads until no message comes for `timeout_s`."""
        while (message := self._tap.next(timeout_s=timeout_s)) is not None:
            self.messages.append(message)
            self.received_s.append(time.monotonic())

    def collect_for(self, seconds: float) -> None:
        """Reads for so long."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self.poll(min(left_s, QUIET_S))

    def until(self, condition: Callable[[], T], what: str, within_s: float = 20.0) -> T:
        """Polls until the condition holds; its value. Raises AssertionError with all messages when it does not."""
        try:
            return eventually(lambda: self.poll() or condition(), within_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; received {self.messages}") from None

    def of(self, *types: type) -> list:
        """The messages of these types, in order."""
        return [message for message in self.messages if isinstance(message, types)]
