"""Faults, chosen by seed and injected into the processes of a running bundle."""

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
KINDS = ("kill", "stop", "pause", "terminate")
ALL = "all"  # as a service: all processes at once
ON_ALL = (("kill", "supervisord"), ("stop", "supervisord"), ("pause", ALL), ("intrude", ALL))
ON_SERVICES = tuple((kind, service) for kind in KINDS for service in SERVICES)
EVERY_FAULT = (*ON_SERVICES, *ON_ALL)


@dataclass(frozen=True)
class Fault:
    kind: str  # kill; stop (SIGSTOP); pause (SIGSTOP, then SIGCONT); terminate; intrude (foreign bytes and messages)
    service: str
    after_s: float  # since the previous fault
    pause_s: float = 0.0


def plan(seed: int | str, count: int, every_s: float, pairs: Iterable[tuple[str, str]] = ON_SERVICES) -> list[Fault]:
    """`count` faults. Every pair of kind and service comes once before any comes twice; order and times are random."""
    dice, pairs = random.Random(seed), list(pairs)
    dealt = [pair for _ in range(-(-count // len(pairs))) for pair in dice.sample(pairs, len(pairs))][:count]
    return [
        Fault(kind, service, dice.uniform(0.5, 1.5) * every_s, dice.choice((0.1, 0.4, 1.0))) for kind, service in dealt
    ]


def inject(fault: Fault, runtime_dir: Path) -> list[int]:
    """Injects the fault into one process of the service, or all; the pids, empty when none runs at the moment."""
    if fault.kind in _BY_CLIENTS:
        _BY_CLIENTS[fault.kind](runtime_dir)
        return []
    victims = find(fault.service, runtime_dir)
    _send(_SIGNALS[fault.kind], victims)
    if fault.kind == "pause":
        time.sleep(fault.pause_s)
        _send(signal.SIGCONT, victims)
    return [victim.pid for victim in victims]


def find(service: str, runtime_dir: Path) -> list[psutil.Process]:
    """One process of the service in this runtime directory; all processes there, for ALL."""
    found = processes.processes_of(runtime_dir)
    if service == ALL:
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


_BY_CLIENTS = {"intrude": intruder.intrude, "ask": intruder.request_history}
_SIGNALS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "pause": signal.SIGSTOP,
    "terminate": signal.SIGINT,
}
