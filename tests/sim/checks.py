"""What has to be true of a box that was healed and has come to rest, seen from outside."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId, decode
from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame, Entry, Final, Gap

from . import excuses, losses, sound

if TYPE_CHECKING:
    from .world import World

UNMEASURED = ("overrun", "cuts_lost")  # gaps that are not of the device's making
BABBLED = "too_many_words"  # a Final without text although there are words: its engine was cursed


@dataclass(frozen=True)
class Span:
    """Where an entry says that it is, in samples."""

    entry: Entry

    @property
    def start(self) -> int:
        return round(self.entry.start_s * SAMPLE_RATE_HZ)

    @property
    def end(self) -> int:
        return round(self.entry.end_s * SAMPLE_RATE_HZ)


def violations(world: "World") -> Iterator[str]:
    """In words; none if the promise was kept."""
    rows = world.stored()
    stored = [decode(body) for _, body in rows]
    if [seq for seq, _ in rows] != list(range(1, len(rows) + 1)):
        yield f"journal_seq is {[seq for seq, _ in rows]}"
    yield from _misread(world, stored)
    entries = losses.entries_ever(world, stored)
    yield from _unended(world, entries)
    yield from excuses.without(world, entries)
    for (source, stream), frames in world.witness.frames.items():
        mine = [entry for entry in entries if entry.utterance_id[:2] == (source, stream)]
        unknown = losses.unknown(world, source, stream, mine)
        yield from (f"{source}/{stream}: {text}" for text in _of_stream(frames, mine, unknown))
    for source in world.sources:
        yield from excuses.unheard(world, source)
    if unknown := {entry.utterance_id[:2] for entry in entries} - set(world.witness.frames):
        yield f"entries of streams that never were: {unknown}"


def _misread(world: "World", stored: list[Entry]) -> Iterator[str]:
    """Apps that did not get everything once and in order; told to stop, a box ends before they have all."""
    for app in world.apps:
        expected = stored[: len(app.kept)] if world.scenario.stops else stored
        is_excused = _has_the_same(world, app.kept, expected) or losses.has_both(world, app.kept, stored)
        if app.kept != expected and not is_excused:
            yield f"an app heard {_short(app.kept)}, stored is {_short(stored)}"


def _has_the_same(world: "World", kept: list[Entry], entries: list[Entry]) -> bool:
    """What an app heard before journal could store it may be out of its turn, and replaced by what was stored."""
    was_full = world.witness.happened["published while the disk is full"] > 0
    return was_full and sorted(_ids(kept)) == sorted(_ids(entries))


def _ids(entries: list[Entry]) -> list[UtteranceId]:
    return [entry.utterance_id for entry in entries]


def _short(entries: list[Entry]) -> str:
    return str([(entry.journal_seq, str(entry.utterance_id)) for entry in entries])


def _unended(world: "World", entries: list[Entry]) -> Iterator[str]:
    ended = {entry.utterance_id for entry in entries if not isinstance(entry, Gap)}
    if unended := world.witness.started - ended - losses.announced(world):
        yield f"started, and never ended: {sorted(map(str, unended))}"


def _of_stream(frames: list[AudioFrame], entries: list[Entry], unknown: list[range]) -> Iterator[str]:
    """`unknown`: where losses excuse that nobody says anything."""
    numbers = [entry.utterance_id.number for entry in entries]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"numbers are {numbers}"
    utterances = [Span(entry) for entry in entries if not isinstance(entry, Gap)]
    gaps = [Span(entry) for entry in entries if isinstance(entry, Gap)]
    whole = dict(_whole_words(frames))
    yield from _overlaps([span for span in utterances if span.entry.reason != "cuts_lost"])  # where it was nobody knows
    yield from _overlaps(sorted((gap for gap in gaps if not _is_overrun_later(gap, gaps)), key=lambda gap: gap.start))
    yield from _wrong_gaps(frames, gaps, unknown)
    yield from _wrong_texts(frames, utterances, whole)
    places = [*utterances, *(gap for gap in gaps if gap.entry.reason == "overrun")]
    yield from _misplaced(whole, places, unknown)


def _is_overrun_later(gap: Span, gaps: list[Span]) -> bool:
    """A gap may be said just before a kill, and be overwritten in the ring, with the sound around it that was not yet
    decided, before vad is there again: then it is within what was overrun, too."""
    later = [other for other in gaps if other.entry.utterance_id.number > gap.entry.utterance_id.number]
    return any(o.entry.reason == "overrun" and o.start <= gap.start and gap.end <= o.end for o in later)


def _overlaps(spans: list[Span]) -> Iterator[str]:
    for one, two in pairwise(spans):
        if two.start < one.end:
            yield f"{one.entry.utterance_id} ends at {one.end}, {two.entry.utterance_id} starts at {two.start}"


def _wrong_gaps(frames: list[AudioFrame], gaps: list[Span], unknown: list[range]) -> Iterator[str]:
    """What the device did not deliver has to be what the gaps say."""
    missing = list(_missing(frames))
    said = [(gap.start, gap.end) for gap in gaps]
    for hole in missing:
        is_excused = any(hole[0] in span for span in unknown)
        if not is_excused and not any(start <= hole[0] and hole[1] <= end for start, end in said):
            yield f"no gap says that {hole} is missing; said are {said}"
    for gap in gaps:
        if gap.entry.reason not in UNMEASURED and (gap.start, gap.end) not in missing:
            yield f"{gap.entry} is none: missing are {missing}"


def _missing(frames: list[AudioFrame]) -> Iterator[tuple[int, int]]:
    position = 0
    for frame in frames:
        if frame.position > position:
            yield position, frame.position
        position = frame.position + FRAME_SAMPLES


def _wrong_texts(frames: list[AudioFrame], utterances: list[Span], whole: dict[int, int]) -> Iterator[str]:
    """A final has to have exactly the words of the frames in its span."""
    for span in utterances:
        if not isinstance(span.entry, Final) or span.entry.reason == BABBLED:
            continue
        inside = [frame for frame in frames if span.start <= frame.position < span.end]
        said = [number for frame in inside for number in sound.words_in(frame.pcm)]
        if span.entry.reason == "too_short":  # no speech, or what is left of a word that the device lost
            said = [number for number in said if number in whole]
        if sound.words_of(span.entry.text) != said:
            yield f"{span.entry} should say {said}"


def _misplaced(whole: dict[int, int], spans: list[Span], unknown: list[range]) -> Iterator[str]:
    """Words that are nowhere, or in two places."""
    for number, position in whole.items():
        places = [span.entry for span in spans if span.start <= position < span.end]
        is_excused = not places and any(position in span for span in unknown)
        if len(places) != 1 and not is_excused:
            yield f"word {number} at {position} is in {places}"


def _whole_words(frames: list[AudioFrame]) -> Iterator[tuple[int, int]]:
    """Those all of which reached the ring, each with its position."""
    by_position = {frame.position: frame.pcm for frame in frames}
    for frame in frames:
        for number, place in sound.places_in(frame.pcm):
            if sound.is_spoken(_around(by_position, frame.position, place)):
                yield number, frame.position + place


def _around(by_position: dict[int, bytes], position: int, place: int) -> bytes:
    """The sound within a margin of `place` in the frame at `position`; silence where there is no frame."""
    positions = range(position - sound.MARGIN, position + sound.MARGIN + 1, FRAME_SAMPLES)
    pcm = b"".join(by_position.get(each, bytes(2 * FRAME_SAMPLES)) for each in positions)
    return pcm[2 * (place + 1) : 2 * (place + 2 * sound.MARGIN)]
