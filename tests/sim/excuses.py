"""Which losses a world has an excuse for: where nothing bad happened, nothing may be missing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from voicetap.messages import SAMPLE_RATE_HZ, AudioFrame, Entry, Failed, Gap

from . import losses, sound

if TYPE_CHECKING:
    from .world import Source, World

PATIENT = 20  # lost workers: more than any world loses over an utterance that is not cursed
LAG_S = 0.35  # by which a stream's clock may differ from the microphone's


def without(world: "World", entries: list[Entry]) -> Iterator[str]:
    """Every Failed and Gap for which there is none."""
    for entry in entries:
        if isinstance(entry, Failed | Gap) and not _is_excused(world, entry):
            yield f"there is no reason for {entry}"


def _is_excused(world: "World", entry: Failed | Gap) -> bool:
    scenario, happened = world.scenario, world.witness.happened
    match entry.reason:
        case "worker_lost":
            is_rough = scenario.faults or scenario.engine.slow or not scenario.conditions.is_good
            return bool(scenario.curses) or (is_rough and scenario.settings.vad.max_attempts < PATIENT)
        case "decode_error":
            return "undecodable" in scenario.curses
        case "overrun":
            return scenario.ring_is_small or losses.is_ring_lost(world, *entry.utterance_id[:2])
        case "cuts_lost":
            return happened["fault: lost cuts"] > 0
        case "capture_restart":
            return happened["exit: capture"] > 0
        case "device_lost":
            return happened["fault: outage"] > 0
        case "overflow":
            return happened["freeze: capture"] > 0
    return False


def unheard(world: "World", source: "Source") -> Iterator[str]:
    """What did not come from the source as it should: a file says all, a microphone is never far from its time."""
    streams = [_places(frames) for (name, _), frames in world.witness.frames.items() if name == source.name]
    if not source.room:
        came = {number: position for places in streams for number, position in places.items()}
        if came != source.sound.words:
            yield f"{source.name}: of the file's words {source.sound.words} came {came}"
    elif not world.witness.happened["freeze: capture"]:
        yield from (f"{source.name}: {text}" for places in streams for text in _lagging(source, places))


def _places(frames: list[AudioFrame]) -> dict[int, int]:
    return {number: frame.position + place for frame in frames for number, place in sound.places_in(frame.pcm)}


def _lagging(source: "Source", places: dict[int, int]) -> Iterator[str]:
    lags = [position - source.sound.words[number] for number, position in places.items()]
    if lags and max(lags) - min(lags) > LAG_S * SAMPLE_RATE_HZ:
        yield f"the stream's clock is {min(lags)} to {max(lags)} samples off"
