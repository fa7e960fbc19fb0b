"""The failpoints of the services (voicetap.service.failpoint): plans that arm them, and faults that lead to them."""

import random
from collections.abc import Iterable
from pathlib import Path

from voicetap.service.failpoint import marker

# Every failpoint, and how often it is reached at least between two restarts of its service.
FAILPOINTS = {
    "capture.slot.written": 200,
    "capture.frame.committed": 200,
    "capture.replay": 20,
    "vad.segment.decided": 1,
    "vad.segment.committed": 1,
    "vad.job.assigned": 1,
    "vad.job.sent": 1,
    "vad.commit.received": 1,
    "transcribe.job.received": 1,
    "transcribe.decoding": 1,
    "transcribe.result.ready": 1,
    "transcribe.result.sent": 1,
    "transcribe.commit.received": 2,
    "journal.entry.received": 1,
    "journal.entry.stored": 1,
    "journal.entry.acknowledged": 1,
    "journal.entry.published": 1,
    "journal.history": 1,
    "watchdog.killed": 1,
}
SERVICES = ("capture", "vad", "transcribe", "journal", "watchdog")
IN_EVERY_SERVICE = ("locked", "beat", "unlinked")  # before bind; bound, before the first heartbeat; while closing
FAILPOINTS |= {f"{service}.{name}": 1 for name in IN_EVERY_SERVICE for service in SERVICES}


def share(part: int, parts: int) -> list[str]:
    """One of `parts` disjoint shares of all failpoints; those of one service are spread evenly over the shares."""
    by_service = sorted(FAILPOINTS, key=lambda name: name.partition(".")[0])
    return by_service[part::parts]


def plan(names: Iterable[str], action: str, seed: int | str) -> str:
    """A value of VOICETAP_FAILPOINTS: each fires once, at a random pass."""
    dice = random.Random(seed)
    return ";".join(f"{name}:{dice.randint(1, FAILPOINTS[name])}:{action}" for name in names)


def pending(names: Iterable[str], runtime_dir: Path) -> list[str]:
    """The failpoints that have not fired yet."""
    return [name for name in names if not marker(runtime_dir, name).exists()]


def triggers(names: Iterable[str]) -> list[tuple[str, str]]:
    """(kind, service) of the faults that lead to those failpoints which undisturbed work does not reach."""
    ends = [("terminate", name.partition(".")[0]) for name in names if name.endswith(".unlinked")]
    return ends + [_TRIGGERS[name] for name in names if name in _TRIGGERS]


_TRIGGERS = {
    "watchdog.killed": ("stop", "capture"),
    "capture.replay": ("kill", "vad"),
    "journal.history": ("ask", "journal"),
}
