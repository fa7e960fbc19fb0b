"""The latest heartbeat of every program, and how long ago it was."""

import time
from dataclasses import dataclass

from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import Heartbeat
from voicetap.settings import Settings

FRESH_S = 2.5  # a program that beat this recently is alive; the watchdog's default judgement is 1.5 s


@dataclass(frozen=True)
class Beat:
    """One heartbeat as heard here."""

    message: Heartbeat
    heard_s: float
    cpu_percent: float  # since the beat before; 0 for the first

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.heard_s


class Beats:
    """Hears the programs of a bundle, whether they run yet or not."""

    def __init__(self, settings: Settings, programs: tuple[str, ...]):
        self.programs = programs
        self.latest: dict[str, Beat] = {}
        self._bus = Bus("app", settings)

    def __enter__(self) -> "Beats":
        self._bus.__enter__()
        self._receivers = [self._bus.receiver(links.HEARTBEAT.of(name)) for name in self.programs]
        return self

    def __exit__(self, *exc: object) -> None:
        self._bus.__exit__()

    def hear(self, timeout_s: float) -> None:
        """Takes what has come, after waiting at most `timeout_s` for the first."""
        self._bus.wait(timeout_s)
        for receiver in self._receivers:
            for message in receiver:
                self._take(message)

    def of(self, program: str) -> Heartbeat | None:
        """The last heartbeat of `program`, unless it is too old to say anything."""
        beat = self.latest.get(program)
        return beat.message if beat and beat.age_s < FRESH_S else None

    def _take(self, message: Heartbeat) -> None:
        before, now_s = self.latest.get(message.name), time.monotonic()
        cpu_percent = before.cpu_percent if before else 0.0
        if before and before.message.boot_id == message.boot_id and now_s - before.heard_s > 0.1:
            cpu_percent = 100 * (message.cpu_s - before.message.cpu_s) / (now_s - before.heard_s)
        self.latest[message.name] = Beat(message, now_s, max(0.0, cpu_percent))
