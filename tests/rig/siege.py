"""A bundle under attack while it transcribes a rig.world, healed, drained, and judged from outside."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from voicetap.messages import Entry
from voicetap_bundle import Bundle, BundleError
from voicetap_bundle.audit import audit
from voicetap_bundle.heartbeat_monitor import HeartbeatMonitor

from . import failpoints, judge, nemesis, processes
from .world import World

HEAL_S = 60.0
GONE_S = 5.0
QUICK = {  # those who watch lose patience early
    "transcribe.deadline_min_s": 3,
    "vad.max_attempts": 20,
    "watchdog.heartbeat_timeout_s": 1,
    "watchdog.startup_timeout_s": 3,
    "loop_timeout_s": 1,
}
ALIVE = ("ready", "busy", "degraded")


@dataclass
class Siege:
    """What an attack works with: `box`, and `listen` to let time pass."""

    box: Bundle
    runtime_dir: Path
    entries: list[Entry] = field(default_factory=list)
    recovered_s: list[tuple[str, float]] = field(default_factory=list)  # program, from its wound to its next beat
    restarts: int = 0
    _wounds: dict[str, tuple[int, float]] = field(default_factory=dict)

    def listen(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if heard := self._tap.next(timeout_s=min(left_s, 0.05)):
                self.entries.append(heard)
            self._look()

    def wound(self, pids: list[int]) -> None:
        """These processes are hurt: how long until each program beats as another process?"""
        for name, beat in self._beats.latest.items():
            if beat.message.pid in pids:
                self._wounds.setdefault(name, (beat.message.pid, time.monotonic()))

    def pids(self) -> dict[str, int]:
        """Of every program, as it beat last."""
        self._look()
        return {name: beat.message.pid for name, beat in self._beats.latest.items()}

    def is_up(self, service: str) -> bool:
        """Whether a process of it is at work: one that has just begun would not even notice a SIGTERM in its name."""
        self._look()
        beats = [beat.message for beat in self._beats.latest.values() if beat.message.service == service]
        return any(beat.state in ALIVE and psutil.pid_exists(beat.pid) for beat in beats)

    def spawned(self) -> int:
        """How many processes supervisord has started, in the life of the bundle."""
        logs = (self.runtime_dir / "log").glob("supervisord.log*")
        return sum(path.read_text().count(" spawned: ") for path in logs)

    def reach(self, moments: list[str], within_s: float) -> list[str]:
        """Lets time pass, and brings services to these moments; those that nobody came to in time."""
        deadline_s = time.monotonic() + within_s
        while (pending := failpoints.pending(moments, self.runtime_dir)) and time.monotonic() < deadline_s:
            for kind, service in failpoints.provoke(pending):
                if self.is_up(service):
                    nemesis.inject(nemesis.Fault(kind, service, 0), self.runtime_dir)
            self.listen(1.0)
        return pending

    def run(self, attack: Callable[["Siege"], None]) -> list[str]:
        """Attacks, waits until all is healed and delivered, and listens to the end; what never came to its end."""
        with self.box.tap(since=1) as self._tap, HeartbeatMonitor(self.box.settings, self.box.programs) as self._beats:
            attack(self)
            healed_s = time.monotonic() + HEAL_S
            while not self.box.is_drained():
                self.listen(0.2)
                if time.monotonic() > healed_s:
                    return [f"not drained {HEAL_S:g} s after the last fault: {self.box.status()}"]
            while heard := self._tap.next(timeout_s=1.0):
                self.entries.append(heard)
        self.restarts = max(0, self.spawned() - len(self.box.programs))
        return self._audit(time.monotonic() + HEAL_S)

    def _audit(self, deadline_s: float) -> list[str]:
        """Again where nobody answered in time, which on a busy machine is no violation."""
        while True:
            try:
                return audit(self.box.settings)["violations"]
            except BundleError:
                if time.monotonic() > deadline_s:
                    raise

    def _look(self) -> None:
        self._beats.poll(0)
        for name, (pid, since_s) in list(self._wounds.items()):
            beat = self._beats.latest[name].message
            if beat.pid != pid and beat.state in ALIVE:
                self.recovered_s.append((name, time.monotonic() - since_s))
                del self._wounds[name]


def under(box: Bundle, runtime_dir: Path, world: World, attack: Callable[[Siege], None]) -> tuple[Siege, list[str]]:
    """Starts the bundle, besieges it and stops it; the violations of its promise."""
    with box:
        siege = Siege(box, runtime_dir)
        problems = siege.run(attack)
    return siege, [*problems, *judge.violations(world, siege.entries), *left(runtime_dir)]


def left(runtime_dir: Path) -> list[str]:
    """Processes and files that are still there after the stop."""
    deadline_s = time.monotonic() + GONE_S
    while (running := processes.processes_of(runtime_dir)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    files = list(runtime_dir.iterdir()) if runtime_dir.exists() else []
    return [f"left behind: {each}" for each in (*running, *files)]
