"""What may be missing after a whole file was lost: only what was in that file, and nothing else."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId
from voicetap.messages import SAMPLE_RATE_HZ, Entry, Failed, Gap
from voicetap.vocabulary import Reason

if TYPE_CHECKING:
    from .world import World

END = 1 << 60  # of a stream, in samples


@dataclass(frozen=True)
class Loss:
    """The world when the file was lost: the journal's entries, the first source's stream, the utterances announced, and
    each source with a stream."""

    entries: list[Entry]
    stream: str
    announced: set[UtteranceId]
    streams: set[tuple[str, str]]


def all_entries(world: "World", stored: list[Entry]) -> list[Entry]:
    """The stored entries and those of a lost journal, each once, in order of number: some of them were sent again."""
    if not _is_journal_lost(world):
        return stored
    entries = {entry.utterance_id: entry for entry in (*world.loss.entries, *stored)}
    return [entries[id_] for id_ in sorted(entries)]


def has_entries_of_both(world: "World", kept: list[Entry], stored: list[Entry]) -> bool:
    """Whether an app kept all entries of the new journal, and besides them only entries of the lost one."""
    if not _is_journal_lost(world):
        return False
    unnumbered = {entry.utterance_id for entry in kept if not entry.journal_seq}  # published while the disk was full
    others = [entry for entry in kept if entry.journal_seq and entry not in stored]
    has_all = all(entry in kept or entry.utterance_id in unnumbered for entry in stored)
    return has_all and all(entry in world.loss.entries for entry in others)


def lost_announcements(world: "World") -> set[UtteranceId]:
    """Utterances announced by a vad that lost its segment store: its successor does not have them."""
    return world.loss.announced if world.loss and world.scenario.loses == "lost cuts" else set()


def excused_spans(world: "World", source: str, stream: str, entries: list[Entry]) -> list[range]:
    """Samples of the stream, whose entries these are, for which entries may be missing."""
    spans = [range(round(gap.start_s * SAMPLE_RATE_HZ)) for gap in _cuts_lost_gaps(entries)]
    if is_ring_lost(world, source, stream):
        last = max((round(entry.end_s * SAMPLE_RATE_HZ) for entry in entries), default=0)
        spans.append(range(last, END))  # committed to the ring, and not read by vad
        open_ended = [entry for entry in entries if isinstance(entry, Failed) and entry.start_s == entry.end_s]
        spans += [range(round(entry.start_s * SAMPLE_RATE_HZ), END) for entry in open_ended]
    return spans


def is_ring_lost(world: "World", source: str, stream: str) -> bool:
    is_lost = world.scenario.loses == "lost ring" and world.loss is not None
    return is_lost and (source, stream) == (world.sources[0].name, world.loss.stream)


def are_segments_lost(world: "World", source: str, stream: str) -> bool:
    is_lost = world.scenario.loses == "lost cuts" and world.loss is not None
    return is_lost and (source, stream) in world.loss.streams


def _is_journal_lost(world: "World") -> bool:
    return world.scenario.loses == "lost journal" and world.loss is not None


def _cuts_lost_gaps(entries: list[Entry]) -> list[Gap]:
    return [entry for entry in entries if isinstance(entry, Gap) and entry.reason == Reason.CUTS_LOST]
