"""What a seed decides: the settings of the bundle, the conditions of its world, and the faults with their times."""

import random
from dataclasses import dataclass, field

from voicetap.settings import (
    CaptureSettings,
    JournalSettings,
    Settings,
    TranscribeSettings,
    VadSettings,
    WatchdogSettings,
)

from .decoder import WORD_FAULTS, EngineConditions
from .network import Conditions

FAULTS = {  # each with its weight
    "kill": 4,
    "kill in a turn": 8,
    "kill while writing": 4,
    "freeze": 2,
    "freeze in a turn": 4,
    "freeze for ever": 2,
    "away": 1,
    "terminate": 2,
    "break": 3,
    "stall": 2,
    "full disk": 2,
    "outage": 2,
    "clock": 1,
}
LOSSES = ("lost cuts", "lost journal", "lost ring")  # of a file: at most one in a world, and in few worlds
LARGE_RING_S = 60.0  # more than there is sound
LOST_JOURNAL_TIMEOUT_S = 30.0  # reorder timeout, for entries that only a lost journal had
SMALL_RING_S = 7.4  # just enough for the longest utterance and the audio before it that the model needs


@dataclass(frozen=True)
class Fault:
    kind: str
    at_s: float  # since the start
    chance: float  # a random number that decides the rest
    length_s: float


@dataclass
class Scenario:
    seed: int
    sources: tuple[str, ...]  # each a kind: mic or file
    seconds: float
    settings: Settings
    conditions: Conditions
    engine: EngineConditions
    word_faults: tuple[str, ...]  # each for a random word
    faults: tuple[Fault, ...]
    stops: bool  # the bundle is stopped while there is speech; otherwise the world ends with its sound
    readers: int
    interims: bool  # whether the readers subscribe to interims
    ring_is_small: bool
    loses: str  # one of LOSSES, or empty
    kinds: frozenset[str] = field(default_factory=frozenset)


def draw(seed: int) -> Scenario:
    dice = random.Random(seed)
    kinds = frozenset(kind for kind in FAULTS if dice.random() < 0.5)
    ring_is_small = dice.random() < 0.1
    seconds = dice.uniform(9, 12) if ring_is_small else dice.uniform(2, 6)
    word_faults = tuple(dice.choice(WORD_FAULTS) for _ in range(dice.choice((0, 0, 0, 1, 2))))
    has_file = dice.random() < 0.4
    sources = tuple("file" if has_file else "mic" for _ in range(dice.choice((1, 1, 1, 2))))
    loses = dice.choice(LOSSES) if dice.random() < 0.06 else ""
    faults = [*_faults(dice, kinds, seconds), *([_fault(dice, loses, seconds)] if loses else [])]
    return Scenario(
        seed=seed,
        sources=sources,
        seconds=seconds,
        settings=_settings(dice, sources, SMALL_RING_S if ring_is_small else LARGE_RING_S, bool(word_faults), loses),
        conditions=_conditions(dice),
        engine=EngineConditions(
            factor=dice.uniform(0.02, 0.3), slow=dice.choice((0, 0, 0.1, 0.3)), slow_s=dice.uniform(0.5, 3)
        ),
        word_faults=word_faults,
        faults=tuple(faults),
        stops=not has_file and not word_faults and not ring_is_small and not loses and dice.random() < 0.3,
        readers=dice.choice((1, 1, 2)),
        interims=dice.random() < 0.75,
        ring_is_small=ring_is_small,
        loses=loses,
        kinds=kinds,
    )


def _settings(
    dice: random.Random, sources: tuple[str, ...], ring_s: float, has_word_faults: bool, loses: str
) -> Settings:
    return Settings(
        sources=tuple(f"s{number}=raw:-" for number in range(1, len(sources) + 1)),
        capture=CaptureSettings(pace=dice.choice(("realtime", "max")), ring_s=ring_s),
        vad=VadSettings(
            onset_ms=64,
            pre_roll_ms=dice.choice((0, 96, 200)),
            min_speech_ms=128,
            endpoint_ms=256,
            speech_pad_ms=dice.choice((0, 64, 200)),
            max_utterance_soft_s=1.2,
            max_utterance_s=2.0,
            lease_s=dice.choice((0.5, 1.0)),
            max_attempts=dice.choice((2, 3) if has_word_faults else (2, 3, 20)),
        ),
        transcribe=TranscribeSettings(workers=dice.choice((1, 1, 2, 3)), deadline_factor=1.0, deadline_min_s=2.0),
        journal=JournalSettings(reorder_timeout_s=LOST_JOURNAL_TIMEOUT_S if loses == "lost journal" else 600.0),
        watchdog=WatchdogSettings(heartbeat_timeout_s=1.0, startup_timeout_s=5.0),
    )


def _conditions(dice: random.Random) -> Conditions:
    if dice.random() < 0.4:
        return Conditions()
    return Conditions(
        latency_s=dice.choice((0.0002, 0.002, 0.02)),
        late=dice.choice((0, 0.01, 0.05)),
        late_s=dice.uniform(0.05, 1.0),
        lost=dice.choice((0, 0, 0.01, 0.05)),
        repeated=dice.choice((0, 0, 0.01, 0.05)),
        connect_s=dice.choice((0.03, 0.3)),
        depth=dice.choice((1.0, 0.1, 0.05)),
    )


def _faults(dice: random.Random, kinds: frozenset[str], seconds: float) -> tuple[Fault, ...]:
    if not kinds:
        return ()
    names, weights = zip(*((kind, FAULTS[kind]) for kind in sorted(kinds)), strict=True)
    drawn = dice.choices(names, weights, k=dice.choice((0, 1, 2, 4, 8, 16)))
    return tuple(_fault(dice, kind, seconds) for kind in drawn)


def _fault(dice: random.Random, kind: str, seconds: float) -> Fault:
    return Fault(kind, dice.uniform(0.2, seconds + 0.5), dice.random(), dice.uniform(0.05, 2))
