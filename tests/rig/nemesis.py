"""Faults, injected by seed into the processes of a running bundle."""

import contextlib
import random
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import intruder, processes

SERVICES = ("capture", "vad", "transcribe", "journal", "watchdog")
MODULES = {"supervise": "voicetap_watchdog.supervise", "supervisord": "voicetap_watchdog.supervisord_main"}
FAULTS = ("kill", "stop", "pause", "terminate")
BOX = "box"  # as a service: all processes at once
ON_THE_WHOLE = (("kill", "supervisord"), ("stop", "supervisord"), ("pause", BOX), ("intrude", BOX))
EVERYTHING = (*((kind, service) for kind in FAULTS for service in SERVICES), *ON_THE_WHOLE)


@dataclass(frozen=True)
class Fault:
    kind: str  # kill; stop (for ever); pause (stopped, then continued); terminate; intrude (foreign bytes and messages)
    service: str
    after_s: float  # since the fault before
    pause_s: float = 0.0


def plan(
    seed: int | str, count: int, every_s: float, pairs: Iterable[tuple[str, str]] = EVERYTHING[: -len(ON_THE_WHOLE)]
) -> list[Fault]:
    """`count` faults: every pair of kind and service in turn, in the seed's order and at its moments."""
    dice, pairs = random.Random(seed), list(pairs)
    dealt = [pair for _ in range(-(-count // len(pairs))) for pair in dice.sample(pairs, len(pairs))][:count]
    return [
        Fault(kind, service, dice.uniform(0.5, 1.5) * every_s, dice.choice((0.1, 0.4, 1.0))) for kind, service in dealt
    ]


def inject(fault: Fault, runtime_dir: Path) -> list[int]:
    """Does it to one process of the service, or to the whole box; the pids hurt, none when none is there just now."""
    if fault.kind in _STRANGERS:
        _STRANGERS[fault.kind](runtime_dir)
        return []
    victims = find(fault.service, runtime_dir)
    _send(_SIGNALS[fault.kind], victims)
    if fault.kind == "pause":
        time.sleep(fault.pause_s)
        _send(signal.SIGCONT, victims)
    return [victim.pid for victim in victims]


def find(service: str, runtime_dir: Path) -> list[psutil.Process]:
    """A process of the service in this runtime directory; all processes there, for BOX."""
    found = processes.processes_of(runtime_dir)
    if service == BOX:
        return found
    module = MODULES.get(service, f"voicetap_{service}")
    return [process for process in found if module in _command_of(process)][:1]


def _send(number: signal.Signals, victims: list[psutil.Process]) -> None:
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(number)


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


_STRANGERS = {"intrude": intruder.intrude, "ask": intruder.ask}
_SIGNALS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "pause": signal.SIGSTOP,
    "terminate": signal.SIGTERM,
}
