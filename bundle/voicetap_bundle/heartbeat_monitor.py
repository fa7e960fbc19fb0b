"""The latest heartbeat of every program of a bundle, with its age and the CPU use derived from it."""

import time
from dataclasses import dataclass

from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import Heartbeat
from voicetap.settings import Settings

FRESH_S = 2.5  # an older heartbeat is ignored; watchdog.heartbeat_timeout_s is 1.5 s by default
MIN_CPU_SPAN_S = 0.1  # CPU use over less time than this is noise


@dataclass(frozen=True)
class ReceivedHeartbeat:
    """A heartbeat with its time of receipt."""

    message: Heartbeat
    received_s: float
    cpu_percent: float  # since the previous heartbeat of the same process; 0 for the first

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.received_s


class HeartbeatMonitor:
    """Subscribes to the heartbeats of `programs`, running or not. Use it in a `with` block."""

    def __init__(self, settings: Settings, programs: tuple[str, ...]):
        self.programs = programs
        self.latest: dict[str, ReceivedHeartbeat] = {}
        self._bus = Bus("app", settings)

    def __enter__(self) -> "HeartbeatMonitor":
        self._bus.__enter__()
        self._receivers = [self._bus.receiver(links.HEARTBEAT.of(name)) for name in self.programs]
        return self

    def __exit__(self, *exc: object) -> None:
        self._bus.__exit__()

    def poll(self, timeout_s: float) -> None:
        """Reads all waiting heartbeats, after waiting at most `timeout_s` for the first."""
        self._bus.wait(timeout_s)
        for receiver in self._receivers:
            for message in receiver:
                self._on_heartbeat(message)

    def fresh(self, program: str) -> Heartbeat | None:
        """The last heartbeat of `program`; None if there is none or it is older than FRESH_S."""
        received = self.latest.get(program)
        return received.message if received and received.age_s < FRESH_S else None

    def _on_heartbeat(self, message: Heartbeat) -> None:
        before, now_s = self.latest.get(message.name), time.monotonic()
        cpu_percent = before.cpu_percent if before else 0.0
        if before and before.message.boot_id == message.boot_id and now_s - before.received_s > MIN_CPU_SPAN_S:
            cpu_percent = 100 * (message.cpu_s - before.message.cpu_s) / (now_s - before.received_s)
        self.latest[message.name] = ReceivedHeartbeat(message, now_s, max(0.0, cpu_percent))
