"""Every Failed, every Gap and every missing frame needs a cause among the faults of its world."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from voicetap.messages import SAMPLE_RATE_HZ, AudioFrame, Entry, Failed, Gap, Reason

from . import lost_files, sound

if TYPE_CHECKING:
    from .world import SimulatedSource, World

MANY_ATTEMPTS = 20  # more workers than any world loses over an utterance without a faulty word
LAG_S = 0.35  # by which a stream's clock may differ from the microphone's


def entries_without_cause(world: "World", entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, Failed | Gap) and not _has_cause(world, entry):
            yield f"there is no cause of {entry}"


def _has_cause(world: "World", entry: Failed | Gap) -> bool:
    scenario, happened = world.scenario, world.witness.happened
    match entry.reason:
        case Reason.WORKER_LOST:
            is_rough = scenario.faults or scenario.engine.slow or not scenario.conditions.is_good
            return bool(scenario.word_faults) or (is_rough and scenario.settings.vad.max_attempts < MANY_ATTEMPTS)
        case Reason.DECODE_ERROR:
            return "undecodable" in scenario.word_faults
        case Reason.OVERRUN:
            return scenario.ring_is_small or lost_files.is_ring_lost(world, *entry.utterance_id[:2])
        case Reason.CUTS_LOST:
            return happened["fault: lost cuts"] > 0
        case Reason.CAPTURE_RESTART:
            return happened["exit: capture"] > 0
        case Reason.DEVICE_LOST:
            return happened["fault: outage"] > 0
        case Reason.OVERFLOW:
            return happened["freeze: capture"] > 0
    return False


def source_violations(world: "World", source: "SimulatedSource") -> Iterator[str]:
    """A file must be captured completely; the stream of a microphone must keep its time."""
    streams = [_places(frames) for (name, _), frames in world.witness.frames.items() if name == source.name]
    if not source.room:
        captured = {number: position for places in streams for number, position in places.items()}
        if captured != source.sound.words:
            yield f"{source.name}: of the file's words {source.sound.words} captured are {captured}"
    elif not world.witness.happened["freeze: capture"]:
        yield from (f"{source.name}: {text}" for places in streams for text in _lag_violations(source, places))


def _places(frames: list[AudioFrame]) -> dict[int, int]:
    return {number: frame.position + place for frame in frames for number, place in sound.places_in(frame.pcm)}


def _lag_violations(source: "SimulatedSource", places: dict[int, int]) -> Iterator[str]:
    lags = [position - source.sound.words[number] for number, position in places.items()]
    if lags and max(lags) - min(lags) > LAG_S * SAMPLE_RATE_HZ:
        yield f"the stream's clock is {min(lags)} to {max(lags)} samples off"
