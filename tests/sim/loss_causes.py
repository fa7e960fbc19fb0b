"""Every Failed, every Gap and every missing frame needs a cause among the faults of its world: a fault of its source,
in its span."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame, Entry, Failed, Gap
from voicetap.vocabulary import Reason

from . import lost_files, sound
from .disturbances import Period, covered_s, overlap

if TYPE_CHECKING:
    from .world import SimulatedSource, World

MANY_ATTEMPTS = 20  # more workers than any world loses over an utterance without a faulty word
LAG_S = 0.35  # by which a stream's clock may differ from the microphone's
SMALL_LOSS_S = 0.2  # that capture may attribute to a grown latency, or count late
NOTICED_S = 6.0  # from the begin of a freeze until capture has noticed what it lost: the freeze, and two windows of 2 s


def entries_without_cause(world: "World", entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, Failed | Gap) and not _has_cause(world, entry):
            yield f"there is no cause of {entry}"


def _has_cause(world: "World", entry: Failed | Gap) -> bool:
    match entry.reason:
        case Reason.WORKER_LOST:
            return _is_worker_lost(world)
        case Reason.DECODE_ERROR:
            return "undecodable" in _word_faults(world, entry)
        case Reason.OVERRUN:
            return _is_overwritten(world, entry) or lost_files.is_ring_lost(world, *entry.utterance_id[:2])
        case Reason.CUTS_LOST:
            return lost_files.are_segments_lost(world, *entry.utterance_id[:2])
        case Reason.CAPTURE_RESTART | Reason.DEVICE_LOST | Reason.OVERFLOW:
            return _is_disturbed(world, entry)
    return False


def _is_worker_lost(world: "World") -> bool:
    """The workers serve all sources, so that a word's fault also fails what is queued behind it."""
    scenario = world.scenario
    is_rough = scenario.faults or scenario.engine.slow or not scenario.conditions.is_good
    return bool(scenario.word_faults) or (bool(is_rough) and scenario.settings.vad.max_attempts < MANY_ATTEMPTS)


def _word_faults(world: "World", entry: Failed) -> set[str]:
    start, end = _span(entry)
    frames = world.witness.frames[entry.utterance_id[:2]]
    inside = [frame for frame in frames if start <= frame.position < end]
    numbers = {number for frame in inside for number in sound.words_in(frame.pcm)}
    return {fault for number, fault in world.engine.faulty_words.items() if number in numbers}


def _is_overwritten(world: "World", entry: Failed | Gap) -> bool:
    """Whether the ring had overwritten some of the audio when vad sent the entry for the first time."""
    frames = world.witness.frames[entry.utterance_id[:2]]
    newest = world.witness.overrun_at.get(entry.utterance_id, -1)
    if not 0 <= newest < len(frames):
        return False
    oldest_s = frames[newest].position / SAMPLE_RATE_HZ - world.scenario.settings.capture.ring_s
    return entry.start_s <= oldest_s + SMALL_LOSS_S


def _span(entry: Failed | Gap) -> tuple[int, int]:
    return round(entry.start_s * SAMPLE_RATE_HZ), round(entry.end_s * SAMPLE_RATE_HZ)


# ---- what a microphone lost ----------------------------------------------------------------------


def _is_disturbed(world: "World", gap: Failed | Gap) -> bool:
    """Whether the gap's own source was disturbed as its reason says, at its time and for its length."""
    source = next(source for source in world.sources if source.name == gap.utterance_id.source)
    period = _period(world, gap)
    if not source.room or not period:
        return False
    absent, frozen = world.disturbances.absent[source.program], world.disturbances.frozen[source.program]
    match gap.reason:
        case Reason.OVERFLOW:
            causes, period = frozen, (period[0] - NOTICED_S, period[1])
            has_cause = any(overlap(each, period) for each in frozen)
        case Reason.CAPTURE_RESTART:
            causes = [*absent, *frozen, *source.room.outages]
            has_cause = any(period[0] <= exit_s <= period[1] for exit_s, _ in absent)
        case _:
            causes = [*absent, *frozen, *source.room.outages]
            has_cause = any(overlap(each, period) for each in source.room.outages)
    return has_cause and gap.end_s - gap.start_s <= covered_s(causes, period) + LAG_S + SMALL_LOSS_S


def _period(world: "World", gap: Failed | Gap) -> Period | None:
    """When capture read the audio on either side of the gap. None if the gap is not between two frames."""
    key = gap.utterance_id[:2]
    frames, read_s = world.witness.frames[key], world.witness.read_s[key]
    start, end = _span(gap)
    for number, frame in enumerate(frames[1:], 1):
        if frame.position == end and frames[number - 1].position + FRAME_SAMPLES == start:
            return read_s[number - 1], read_s[number]
    return None


def source_violations(world: "World", source: "SimulatedSource") -> Iterator[str]:
    """A file must be captured completely; the stream of a microphone must keep its time."""
    streams = {key: frames for key, frames in world.witness.frames.items() if key[0] == source.name}
    if source.room:
        for key, frames in streams.items():
            yield from (f"{source.name}: {text}" for text in _lag_violations(world, source, frames, key))
        return
    captured = {number: position for frames in streams.values() for number, position in _places(frames)}
    if captured != source.sound.words:
        yield f"{source.name}: of the file's words {source.sound.words} captured are {captured}"


def _places(frames: list[AudioFrame]) -> Iterator[tuple[int, int]]:
    for frame in frames:
        yield from ((number, frame.position + place) for number, place in sound.places_in(frame.pcm))


def _lag_violations(
    world: "World", source: "SimulatedSource", frames: list[AudioFrame], key: tuple[str, str]
) -> Iterator[str]:
    frozen = world.disturbances.frozen[source.program]
    certain = [
        frame
        for frame, read_s in zip(frames, world.witness.read_s[key], strict=True)
        if not any(overlap(each, (read_s - NOTICED_S, read_s)) for each in frozen)
    ]
    lags = [position - source.sound.words[number] for number, position in _places(certain)]
    may_differ_s = LAG_S + SMALL_LOSS_S * bool(frozen)
    if lags and max(lags) - min(lags) > may_differ_s * SAMPLE_RATE_HZ:
        yield f"the stream's clock is {min(lags)} to {max(lags)} samples off"
