"""The invariants of a world that was healed and has come to rest, checked from outside."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId, decode
from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame, Entry, Final, Gap
from voicetap.vocabulary import Reason

from . import loss_causes, lost_files, sound

if TYPE_CHECKING:
    from .world import World

UNMEASURED = (Reason.OVERRUN, Reason.CUTS_LOST)  # of gaps that do not come from the device
TOO_MANY_WORDS = "too_many_words"  # of a Final without text whose engine had a faulty word


@dataclass(frozen=True)
class Span:
    """The span of an entry, in samples."""

    entry: Entry

    @property
    def start(self) -> int:
        return round(self.entry.start_s * SAMPLE_RATE_HZ)

    @property
    def end(self) -> int:
        return round(self.entry.end_s * SAMPLE_RATE_HZ)


def violations(world: "World") -> Iterator[str]:
    """One text per violation; none if the promise was kept."""
    rows = world.stored()
    stored = [decode(body) for _, body in rows]
    if [seq for seq, _ in rows] != list(range(1, len(rows) + 1)):
        yield f"journal_seq is {[seq for seq, _ in rows]}"
    yield from _app_violations(world, stored)
    entries = lost_files.all_entries(world, stored)
    yield from _unterminated(world, entries)
    yield from loss_causes.entries_without_cause(world, entries)
    for (source, stream), frames in world.witness.frames.items():
        mine = [entry for entry in entries if entry.utterance_id[:2] == (source, stream)]
        excused = lost_files.excused_spans(world, source, stream, mine)
        yield from (f"{source}/{stream}: {text}" for text in _stream_violations(frames, mine, excused))
    for source in world.sources:
        yield from loss_causes.source_violations(world, source)
    if unknown := {entry.utterance_id[:2] for entry in entries} - set(world.witness.frames):
        yield f"entries of streams without frames: {unknown}"


def _app_violations(world: "World", stored: list[Entry]) -> Iterator[str]:
    """Every app must have every entry once and in order. A bundle that was stopped may stop before apps have all."""
    for app in world.apps:
        expected = stored[: len(app.kept)] if world.scenario.stops else stored
        is_excused = _is_reordered(world, app.kept, expected) or lost_files.has_entries_of_both(world, app.kept, stored)
        if app.kept != expected and not is_excused:
            yield f"an app has {_short(app.kept)}, stored is {_short(stored)}"


def _is_reordered(world: "World", kept: list[Entry], entries: list[Entry]) -> bool:
    """Entries published while the disk was full may be out of order, and are replaced by those stored later."""
    was_full = world.witness.happened["published while the disk is full"] > 0
    return was_full and sorted(_ids(kept)) == sorted(_ids(entries))


def _ids(entries: list[Entry]) -> list[UtteranceId]:
    return [entry.utterance_id for entry in entries]


def _short(entries: list[Entry]) -> str:
    return str([(entry.journal_seq, str(entry.utterance_id)) for entry in entries])


def _unterminated(world: "World", entries: list[Entry]) -> Iterator[str]:
    """Every SpeechStarted must be followed by a Final or Failed."""
    ended = {entry.utterance_id for entry in entries if not isinstance(entry, Gap)}
    if missing := world.witness.started - ended - lost_files.lost_announcements(world):
        yield f"started, without an entry: {sorted(map(str, missing))}"


def _stream_violations(frames: list[AudioFrame], entries: list[Entry], excused: list[range]) -> Iterator[str]:
    """`excused`: samples for which entries may be missing."""
    numbers = [entry.utterance_id.number for entry in entries]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"numbers are {numbers}"
    utterances = [Span(entry) for entry in entries if not isinstance(entry, Gap)]
    gaps = [Span(entry) for entry in entries if isinstance(entry, Gap)]
    whole = dict(_whole_words(frames))
    yield from _overlaps([span for span in utterances if span.entry.reason != Reason.CUTS_LOST])  # its span is unknown
    yield from _overlaps(sorted((gap for gap in gaps if not _is_overrun_later(gap, gaps)), key=lambda gap: gap.start))
    yield from _wrong_gaps(frames, gaps, excused)
    yield from _wrong_texts(frames, utterances, whole)
    places = [*utterances, *(gap for gap in gaps if gap.entry.reason == Reason.OVERRUN)]
    yield from _misplaced(whole, places, excused)


def _is_overrun_later(gap: Span, gaps: list[Span]) -> bool:
    """A gap may be published just before a kill, and be overwritten in the ring, together with undecided audio around
    it, before vad is back: then it is within a later overrun, too."""
    later = [other for other in gaps if other.entry.utterance_id.number > gap.entry.utterance_id.number]
    return any(o.entry.reason == Reason.OVERRUN and o.start <= gap.start and gap.end <= o.end for o in later)


def _overlaps(spans: list[Span]) -> Iterator[str]:
    for one, two in pairwise(spans):
        if two.start < one.end:
            yield f"{one.entry.utterance_id} ends at {one.end}, {two.entry.utterance_id} starts at {two.start}"


def _wrong_gaps(frames: list[AudioFrame], gaps: list[Span], excused: list[range]) -> Iterator[str]:
    """The gaps must be exactly what the device did not deliver."""
    missing = list(_missing(frames))
    published = [(gap.start, gap.end) for gap in gaps]
    for hole in missing:
        is_excused = any(hole[0] in span for span in excused)
        if not is_excused and not any(start <= hole[0] and hole[1] <= end for start, end in published):
            yield f"{hole} is missing, without a gap; gaps are {published}"
    for gap in gaps:
        if gap.entry.reason not in UNMEASURED and (gap.start, gap.end) not in missing:
            yield f"{gap.entry} is not missing; missing are {missing}"


def _missing(frames: list[AudioFrame]) -> Iterator[tuple[int, int]]:
    position = 0
    for frame in frames:
        if frame.position > position:
            yield position, frame.position
        position = frame.position + FRAME_SAMPLES


def _wrong_texts(frames: list[AudioFrame], utterances: list[Span], whole: dict[int, int]) -> Iterator[str]:
    """A final must have exactly the words of the frames in its span."""
    for span in utterances:
        if not isinstance(span.entry, Final) or span.entry.reason == TOO_MANY_WORDS:
            continue
        inside = [frame for frame in frames if span.start <= frame.position < span.end]
        spoken = [number for frame in inside for number in sound.words_in(frame.pcm)]
        if span.entry.reason == Reason.TOO_SHORT:  # no speech, or the rest of a word that the device lost
            spoken = [number for number in spoken if number in whole]
        if sound.words_of(span.entry.text) != spoken:
            yield f"{span.entry} should have the words {spoken}"


def _misplaced(whole: dict[int, int], spans: list[Span], excused: list[range]) -> Iterator[str]:
    """Every word must be in exactly one span."""
    for number, position in whole.items():
        places = [span.entry for span in spans if span.start <= position < span.end]
        is_excused = not places and any(position in span for span in excused)
        if len(places) != 1 and not is_excused:
            yield f"word {number} at {position} is in {places}"


def _whole_words(frames: list[AudioFrame]) -> Iterator[tuple[int, int]]:
    """The words that reached the ring completely, each with its position."""
    by_position = {frame.position: frame.pcm for frame in frames}
    for frame in frames:
        for number, place in sound.places_in(frame.pcm):
            if sound.is_spoken(_around(by_position, frame.position, place)):
                yield number, frame.position + place


def _around(by_position: dict[int, bytes], position: int, place: int) -> bytes:
    """The audio within a margin of `place` in the frame at `position`; silence where there is no frame."""
    positions = range(position - sound.MARGIN, position + sound.MARGIN + 1, FRAME_SAMPLES)
    pcm = b"".join(by_position.get(each, bytes(2 * FRAME_SAMPLES)) for each in positions)
    return pcm[2 * (place + 1) : 2 * (place + 2 * sound.MARGIN)]
