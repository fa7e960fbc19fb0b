"""Faults, injected by seed into the processes of a running bundle."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import processes

SERVICES = ("capture", "vad", "transcribe", "journal", "watchdog")
FAULTS = ("kill", "stop", "pause", "terminate")


@dataclass(frozen=True)
class Fault:
    kind: str  # kill; stop (for ever); pause (stopped, then continued); terminate
    service: str
    after_s: float  # since the fault before
    pause_s: float = 0.0


def plan(seed: int, count: int, every_s: float) -> list[Fault]:
    """`count` faults: every pair of kind and service in turn, in the seed's order and at its moments."""
    dice = random.Random(seed)
    pairs = [(kind, service) for kind in FAULTS for service in SERVICES]
    dealt = [pair for _ in range(-(-count // len(pairs))) for pair in dice.sample(pairs, len(pairs))][:count]
    return [
        Fault(kind, service, dice.uniform(0.5, 1.5) * every_s, dice.choice((0.1, 0.4, 1.0))) for kind, service in dealt
    ]


def inject(fault: Fault, runtime_dir: Path) -> bool:
    """Does it to one process of the service; False when none is there just now."""
    if not (victim := find(fault.service, runtime_dir)):
        return False
    try:
        _ACTIONS[fault.kind](victim, fault)
    except psutil.NoSuchProcess:
        return False
    return True


def find(service: str, runtime_dir: Path) -> psutil.Process | None:
    """A process of the service in this runtime directory."""
    for process in processes.processes_of(runtime_dir):
        try:
            if f"voicetap_{service}" in process.cmdline():
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def _pause(victim: psutil.Process, fault: Fault) -> None:
    victim.suspend()
    time.sleep(fault.pause_s)
    victim.resume()


_ACTIONS: dict[str, Callable[[psutil.Process, Fault], None]] = {
    "kill": lambda victim, _: victim.kill(),
    "stop": lambda victim, _: victim.send_signal(signal.SIGSTOP),
    "pause": _pause,
    "terminate": lambda victim, _: victim.terminate(),
}
