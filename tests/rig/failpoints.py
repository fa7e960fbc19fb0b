"""Which named moments (voicetap.service.failpoint) are armed in a run, and how their services are brought to them."""

import random
from collections.abc import Iterable
from pathlib import Path

from voicetap.service.failpoint import marker

# Every moment, and how often it comes at least between two restarts of its service.
MOMENTS = {
    "capture.slot.written": 200,
    "capture.frame.committed": 200,
    "capture.replay": 20,
    "vad.cut.decided": 1,
    "vad.cut.committed": 1,
    "vad.job.given": 1,
    "vad.job.sent": 1,
    "vad.commit.heard": 1,
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
EVERYWHERE = ("locked", "beat", "unlinked")  # before it binds; bound, but not heard; in its end
MOMENTS |= {f"{service}.{moment}": 1 for moment in EVERYWHERE for service in SERVICES}


def share(part: int, parts: int) -> list[str]:
    """Every moment is in one of `parts` shares, those of a service as evenly as can be."""
    by_service = sorted(MOMENTS, key=lambda moment: moment.partition(".")[0])
    return by_service[part::parts]


def plan(moments: Iterable[str], what: str, seed: int | str) -> str:
    """VOICETAP_FAILPOINTS: each of the moments, at a time of the seed's choice."""
    dice = random.Random(seed)
    return ";".join(f"{moment}:{dice.randint(1, MOMENTS[moment])}:{what}" for moment in moments)


def pending(moments: Iterable[str], runtime_dir: Path) -> list[str]:
    """The moments that nobody has come to yet."""
    return [moment for moment in moments if not marker(runtime_dir, moment).exists()]


def provoke(moments: Iterable[str]) -> list[tuple[str, str]]:
    """(kind, service) of the faults that bring services to those moments that work alone does not bring."""
    ends = [("terminate", moment.partition(".")[0]) for moment in moments if moment.endswith(".unlinked")]
    return ends + [_BRINGS[moment] for moment in moments if moment in _BRINGS]


_BRINGS = {
    "watchdog.killed": ("stop", "capture"),
    "capture.replay": ("kill", "vad"),
    "journal.history": ("ask", "journal"),
}
