"""What is excused where a whole file was lost: something may be missing then, where that was said; nothing else."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId
from voicetap.messages import SAMPLE_RATE_HZ, Entry, Gap

if TYPE_CHECKING:
    from .world import World

END = 1 << 60  # of a stream, in samples


@dataclass(frozen=True)
class Loss:
    """As it was then: what journal had, and the stream of the first source."""

    entries: list[Entry]
    stream: str


def entries_ever(world: "World", stored: list[Entry]) -> list[Entry]:
    """A lost journal had some that nobody sends again, and some that were sent again: all, in order of number."""
    if not _is_journal_lost(world):
        return stored
    ever = {entry.utterance_id: entry for entry in (*world.loss.entries, *stored)}
    return [ever[id_] for id_ in sorted(ever)]


def has_both(world: "World", kept: list[Entry], stored: list[Entry]) -> bool:
    """Whether an app has all entries of the new journal, and others only from the lost one: some came from both."""
    if not _is_journal_lost(world):
        return False
    early = {entry.utterance_id for entry in kept if not entry.journal_seq}  # heard before they could be stored
    others = [entry for entry in kept if entry.journal_seq and entry not in stored]
    has_all = all(entry in kept or entry.utterance_id in early for entry in stored)
    return has_all and all(entry in world.loss.entries for entry in others)


def forgotten_to(id_: UtteranceId, entries: list[Entry]) -> int:
    """vad says so when a cut list was lost: up to this number of the stream of `id_` some may be missing."""
    gaps = [gap.utterance_id for gap in _forgotten(entries)]
    return max((gap.number for gap in gaps if gap[:2] == id_[:2]), default=0)


def unknown(world: "World", source: str, stream: str, entries: list[Entry]) -> list[range]:
    """Where nobody says anything of this stream, whose entries these are; in samples."""
    spans = [range(round(gap.start_s * SAMPLE_RATE_HZ)) for gap in _forgotten(entries)]
    if is_ring_lost(world, source, stream):
        said_to = max((round(entry.end_s * SAMPLE_RATE_HZ) for entry in entries), default=0)
        spans.append(range(said_to, END))  # committed to the ring, and nobody had heard it
    return spans


def is_ring_lost(world: "World", source: str, stream: str) -> bool:
    is_lost = world.scenario.loses == "lost ring" and world.loss is not None
    return is_lost and (source, stream) == (world.sources[0].name, world.loss.stream)


def _is_journal_lost(world: "World") -> bool:
    return world.scenario.loses == "lost journal" and world.loss is not None


def _forgotten(entries: list[Entry]) -> list[Gap]:
    return [entry for entry in entries if isinstance(entry, Gap) and entry.reason == "cuts_lost"]
