"""Replaces the real world in the services' modules by the simulated one, while a simulation runs."""

import logging
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .shells import reader_bus
from .sound import SileroModule

if TYPE_CHECKING:
    from .world import World

SERVICES = ("voicetap_capture.", "voicetap_journal.", "voicetap_transcribe.", "voicetap_vad.", "voicetap.tap")
# These keep the real clock: the simulation replaces them as a whole, or does not run them.
OUTSIDE = ("voicetap.bus", "voicetap.diagnosis", "voicetap.service.", "voicetap_bundle.", "voicetap_watchdog.")
REPLACED = (time, secrets, sqlite3)


@contextmanager
def installed(world: "World") -> Iterator[None]:
    """Time, randomness, databases, sockets, the model and failpoints are the world's; logs are part of its trace."""
    stand_ins = {
        "time": world.clock,
        "secrets": Secrets(world),
        "sqlite3": world.disk,
        "silero": SileroModule(world.dice),
        "failpoint": lambda name: world.step(),
        "faulthandler": Faulthandler(),
        "Bus": reader_bus(lambda: world.running),
    }
    ours = {name: vars(module) for name, module in sys.modules.items() if name.startswith("voicetap")}
    modules = [module for name, module in ours.items() if name.startswith(SERVICES)]
    for name, place in ours.items():
        if not name.startswith(OUTSIDE) and (found := escapes(place, stand_ins if place in modules else {})):
            raise EscapeError(f"{place['__name__']} reaches the real world by {', '.join(found)}")
    places = [(place, name) for place in modules for name in stand_ins if name in place]
    before = [(place, name, place[name]) for place, name in places]
    for place, name in places:
        place[name] = stand_ins[name]
    handler = TraceHandler(world)
    try:
        with _logs_to(handler) if world.tracing else _no_logs():
            yield
    finally:
        for place, name, real in before:
            place[name] = real


class EscapeError(BaseException):
    """A service module holds the real clock, randomness or database under a name that is not replaced."""


def escapes(module: Mapping[str, object], stand_ins: Mapping[str, object]) -> list[str]:
    """Names by which the module reaches what is replaced, under another name: `from time import monotonic`."""
    real = {id(value) for replaced in REPLACED for value in (replaced, *vars(replaced).values()) if callable(value)}
    real |= {id(replaced) for replaced in REPLACED}
    return [name for name, value in module.items() if name not in stand_ins and id(value) in real]


class Secrets:
    """Replaces the module `secrets` with the world's random numbers."""

    def __init__(self, world: "World"):
        self._world = world

    def token_hex(self, size: int) -> str:
        return self._world.dice.randbytes(size).hex()


class Faulthandler:
    """Replaces the module `faulthandler`. No simulated process hangs in C code."""

    def dump_traceback_later(self, seconds: float, exit: bool) -> None:
        """Virtual time does not pass within a turn, so this never expires."""


class TraceHandler(logging.Handler):
    """Adds log lines to the trace."""

    def __init__(self, world: "World"):
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        name = self._world.running.name if self._world.running else "-"
        self._world.trace(name, f"{record.levelname} {record.getMessage()}")


@contextmanager
def _logs_to(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def _no_logs() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
