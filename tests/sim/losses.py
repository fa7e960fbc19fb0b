"""What is excused where a whole file was lost: something may be missing then, where that was said; nothing else."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId
from voicetap.messages import SAMPLE_RATE_HZ, Entry, Failed, Gap

if TYPE_CHECKING:
    from .world import World

END = 1 << 60  # of a stream, in samples


@dataclass(frozen=True)
class Loss:
    """As it was then: what journal had, the stream of the first source, and what vad had announced."""

    entries: list[Entry]
    stream: str
    announced: set[UtteranceId]


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


def announced(world: "World") -> set[UtteranceId]:
    """What a vad without its cut list cannot know that one before it had announced."""
    return world.loss.announced if world.loss and world.scenario.loses == "lost cuts" else set()


def unknown(world: "World", source: str, stream: str, entries: list[Entry]) -> list[range]:
    """Where nobody says anything of this stream, whose entries these are; in samples."""
    spans = [range(round(gap.start_s * SAMPLE_RATE_HZ)) for gap in _forgotten(entries)]
    if is_ring_lost(world, source, stream):
        said_to = max((round(entry.end_s * SAMPLE_RATE_HZ) for entry in entries), default=0)
        spans.append(range(said_to, END))  # committed to the ring, and nobody had heard it
        cut_off = [entry for entry in entries if isinstance(entry, Failed) and entry.start_s == entry.end_s]
        spans += [range(round(entry.start_s * SAMPLE_RATE_HZ), END) for entry in cut_off]  # its end nobody knows
    return spans


def is_ring_lost(world: "World", source: str, stream: str) -> bool:
    is_lost = world.scenario.loses == "lost ring" and world.loss is not None
    return is_lost and (source, stream) == (world.sources[0].name, world.loss.stream)


def _is_journal_lost(world: "World") -> bool:
    return world.scenario.loses == "lost journal" and world.loss is not None


def _forgotten(entries: list[Entry]) -> list[Gap]:
    return [entry for entry in entries if isinstance(entry, Gap) and entry.reason == "cuts_lost"]
