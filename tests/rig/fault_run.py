"""One run of a bundle that transcribes a rig.world under faults: recovery, drain, and a check of what it published."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from voicetap.messages import Entry
from voicetap_bundle import Bundle, BundleError
from voicetap_bundle.audit import audit
from voicetap_bundle.heartbeat_monitor import HeartbeatMonitor

from . import failpoints, faults, processes, verification
from .collector import TapCollector
from .world import World

RECOVERY_S = 60.0
EXIT_S = 5.0
TURN_S = 0.05
TRIGGER_PERIOD_S = 1.0  # a service that is terminated more often would not get to work
LAST_MESSAGE_S = 1.0  # without a message after the drain: a repeated entry would come within 0.5 s
SHORT_TIMEOUTS = {
    "transcribe.deadline_min_s": 3,
    "vad.max_attempts": 20,
    "watchdog.heartbeat_timeout_s": 1,
    "watchdog.startup_timeout_s": 3,
}
# The smallest ring that the settings allow, with utterances that it can hold: a fast source soon has to wait for vad.
SMALL_RING_S = 10
SMALL_RING = {"capture.ring_s": SMALL_RING_S, "vad.max_utterance_s": 5, "vad.max_utterance_soft_s": 5}
WORKING = ("ready", "busy", "degraded")


@dataclass
class FaultRun:
    """What an attack works with: `box`, and `wait` to let time pass."""

    box: Bundle
    runtime_dir: Path
    recovered_s: list[tuple[str, float]] = field(default_factory=list)  # program, fault to heartbeat of its successor
    restarts: int = 0
    _victims: dict[str, tuple[int, float]] = field(default_factory=dict)  # by program: pid, time of the fault

    @property
    def entries(self) -> list[Entry]:
        """All entries published so far."""
        return self._collector.messages

    def wait(self, seconds: float) -> None:
        """Collects entries and heartbeats for so long."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._collector.poll(min(left_s, TURN_S))
            self._poll_heartbeats()

    def measure_recovery(self, pids: list[int]) -> None:
        """Measures how long each program of these processes takes, from now on, to work again as another process."""
        for name, received in self._heartbeats.latest.items():
            if received.message.pid in pids:
                self._victims.setdefault(name, (received.message.pid, time.monotonic()))

    def pids(self) -> dict[str, int]:
        """The pid of every program, from its last heartbeat."""
        self._poll_heartbeats()
        return {name: received.message.pid for name, received in self._heartbeats.latest.items()}

    def is_working(self, service: str) -> bool:
        """Whether a process of the service works. One that is just starting may not handle SIGTERM yet."""
        self._poll_heartbeats()
        latest = [received.message for received in self._heartbeats.latest.values()]
        return any(beat.service == service and beat.state in WORKING and psutil.pid_exists(beat.pid) for beat in latest)

    def spawned(self) -> int:
        """How many processes supervisord has started since the bundle was."""
        logs = (self.runtime_dir / "log").glob("supervisord.log*")
        return sum(path.read_text().count(" spawned: ") for path in logs)

    def reach(self, names: list[str], within_s: float) -> list[str]:
        """Waits until every one of these failpoints was reached, and triggers those that need it; the rest."""
        deadline_s, next_trigger_s = time.monotonic() + within_s, 0.0
        while (pending := failpoints.pending(names, self.runtime_dir)) and time.monotonic() < deadline_s:
            if time.monotonic() >= next_trigger_s:
                self._trigger(pending)
                next_trigger_s = time.monotonic() + TRIGGER_PERIOD_S
            self.wait(2 * TURN_S)
        return pending

    def run(self, attack: Callable[["FaultRun"], None]) -> list[str]:
        """Attacks, waits until everything is drained, and reads to the end; violations, other than in the entries."""
        monitor = HeartbeatMonitor(self.box.settings, self.box.programs)
        with self.box.tap(since=1) as tap, monitor as self._heartbeats:
            self._collector = TapCollector(tap)
            attack(self)
            deadline_s = time.monotonic() + RECOVERY_S
            while not self.box.is_drained():
                self.wait(2 * TURN_S)
                if time.monotonic() > deadline_s:
                    return [f"not drained {RECOVERY_S:g} s after the last fault: {self.box.status()}"]
            self._collector.poll(LAST_MESSAGE_S)
        self.restarts = max(0, self.spawned() - len(self.box.programs))
        return self._audit(time.monotonic() + RECOVERY_S)

    def _trigger(self, pending: list[str]) -> None:
        for kind, service in failpoints.triggers(pending):
            if self.is_working(service):
                faults.inject(faults.Fault(kind, service, 0), self.runtime_dir)

    def _audit(self, deadline_s: float) -> list[str]:
        """Repeated while journal does not answer in time, which on a busy machine is no violation."""
        while True:
            try:
                return audit(self.box.settings)["violations"]
            except BundleError:
                if time.monotonic() > deadline_s:
                    raise

    def _poll_heartbeats(self) -> None:
        self._heartbeats.poll(0)
        for name, (pid, since_s) in list(self._victims.items()):
            latest = self._heartbeats.latest[name].message
            if latest.pid != pid and latest.state in WORKING:
                self.recovered_s.append((name, time.monotonic() - since_s))
                del self._victims[name]


def run_under_faults(
    box: Bundle, runtime_dir: Path, world: World, attack: Callable[[FaultRun], None]
) -> tuple[FaultRun, list[str]]:
    """Starts the bundle, calls `attack`, waits for the recovery and stops the bundle; all violations."""
    with box:
        run = FaultRun(box, runtime_dir)
        violations = run.run(attack)
    return run, [*violations, *verification.violations(world, run.entries), *leftovers(runtime_dir)]


def leftovers(runtime_dir: Path) -> list[str]:
    """Processes and files that still exist after the stop."""
    deadline_s = time.monotonic() + EXIT_S
    while (running := processes.processes_of(runtime_dir)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    files = list(runtime_dir.iterdir()) if runtime_dir.exists() else []
    return [f"left behind: {each}" for each in (*running, *files)]
