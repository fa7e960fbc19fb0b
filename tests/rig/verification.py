"""Compares the published entries with the audio of a rig.world: every frame once, in order."""

from collections import Counter

from voicetap.messages import Entry, Failed, Final, Gap

from . import coded
from .world import World


def violations(world: World, entries: list[Entry]) -> list[str]:
    """Every way in which these entries differ from what `world` requires; empty when they do not."""
    published = [run for entry in entries if isinstance(entry, Final) for run in coded.parse(entry.text)]
    return [
        *_wrong_sequence(entries),
        *_wrong_order(published),
        *_wrong_count(world, published),
        *_repeated_ids(entries),
        *[f"not transcribed: {entry}" for entry in entries if isinstance(entry, Failed)],
        *[f"not captured: {entry}" for entry in entries if isinstance(entry, Gap)],
    ]


def times_published(entries: list[Entry], span: tuple[int, int]) -> set[int]:
    """How often the frames [first, last] were published: {1} is correct."""
    times = _times([run for entry in entries if isinstance(entry, Final) for run in coded.parse(entry.text)])
    return {times[frame] for frame in range(span[0], span[1] + 1)}


def _times(runs: list[tuple[int, int]]) -> Counter[int]:
    return Counter(frame for first, last in runs for frame in range(first, last + 1))


def _wrong_sequence(entries: list[Entry]) -> list[str]:
    sequence = [entry.journal_seq for entry in entries]
    expected = list(range(1, len(sequence) + 1))
    return [] if sequence == expected else [f"journal_seq is {sequence}"]


def _wrong_order(runs: list[tuple[int, int]]) -> list[str]:
    ordered = all(one[1] < two[0] for one, two in zip(runs, runs[1:], strict=False))
    return [] if ordered else [f"frames out of order or doubled: {runs}"]


def _wrong_count(world: World, runs: list[tuple[int, int]]) -> list[str]:
    times = _times(runs)
    return [
        f"sentence {number}: frame {frame} published {times[frame]} times"
        for number, (first, last) in enumerate(world.sentences, 1)
        for frame in range(first, last + 1)
        if times[frame] != 1
    ][:10]


def _repeated_ids(entries: list[Entry]) -> list[str]:
    ids = Counter(entry.utterance_id for entry in entries)
    return [f"{utterance_id} published {count} times" for utterance_id, count in ids.items() if count > 1]
