"""What befalls the simulated box, and how it is healed before it is judged."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from voicetap.codec import decode

from .host import APP, WATCHDOG
from .losses import Loss
from .network import Conditions
from .process import FOR_EVER_S, Process
from .scenario import Fault
from .timeline import START_S

if TYPE_CHECKING:
    from .world import World

AWAY = 5  # times as long as other faults: longer than a small ring
MAX_STEPS = 60  # of a process from now until it dies or freezes in a turn
SUPERVISE_S = 1.5  # until the watchdog's own watcher kills it


def plan(world: "World") -> None:
    """Sees to it that the scenario's faults come to pass."""
    for fault in world.scenario.faults:
        world.timeline.at(START_S + fault.at_s, lambda fault=fault: _happen(world, fault))
    words = [word for source in world.sources for word in source.sound.words]
    for curse in world.scenario.curses if words else ():
        world.engine.cursed[world.dice.choice(words)] = curse


def heal(world: "World") -> None:
    """Nothing bad happens any more; what is cursed stays so."""
    world.network.conditions = Conditions(depth=world.network.conditions.depth)
    world.disk.full = False
    world.engine.slow = 0.0
    for program in world.host.programs.values():
        if program.process:
            program.process.spare()


def _happen(world: "World", fault: Fault) -> None:
    world.witness.count(f"fault: {fault.kind}")
    if world.tracing:
        world.note("nemesis", f"{fault}")
    if happen := _TO_THE_WORLD.get(fault.kind):
        return happen(world, fault)
    victims = [program.process for program in world.host.programs.values() if program.process]
    if victims:
        _TO_A_PROCESS[fault.kind](world, fault, victims[int(fault.chance * len(victims))])


# ---- to the world --------------------------------------------------------------------------------


def _fill_the_disk(world: "World", fault: Fault) -> None:
    world.disk.full = True
    world.timeline.at(world.timeline.now_s + fault.length_s, lambda: setattr(world.disk, "full", False))


def _take_the_microphones(world: "World", fault: Fault) -> None:
    for source in world.sources:
        if source.room:
            source.room.outages.append((world.timeline.now_s, world.timeline.now_s + fault.length_s))


def _set_the_clock(world: "World", fault: Fault) -> None:
    world.clock.wall_offset_s += (fault.chance - 0.5) * 7200


def _lose_the_cuts(world: "World", fault: Fault) -> None:
    _lose(world, "vad", lambda: [world.disk.lose(f"cuts-{source.name}.sqlite") for source in world.sources])


def _lose_the_journal(world: "World", fault: Fault) -> None:
    _lose(world, "journal", lambda: world.disk.lose("journal.sqlite"))
    world.witness.published.clear()  # a new journal counts from 1


def _lose_a_ring(world: "World", fault: Fault) -> None:
    _lose(world, "capture-1", lambda: Path(world.directory, "audio-s1.ring").unlink(missing_ok=True))


def _lose(world: "World", owner: str, lose: Callable[[], object]) -> None:
    """The file of its owner, who is killed first, as nobody can lose a file that is open."""
    if process := world.host.process(owner):
        process.kill()
    entries = [decode(body) for _, body in world.stored()]
    world.loss = Loss(entries, world.sources[0].stream, set(world.witness.announced))
    lose()


_TO_THE_WORLD: dict[str, Callable[["World", Fault], None]] = {
    "break": lambda world, fault: world.network.break_one(),
    "stall": lambda world, fault: world.network.stall_one(fault.length_s),
    "full disk": _fill_the_disk,
    "outage": _take_the_microphones,
    "clock": _set_the_clock,
    "lost cuts": _lose_the_cuts,
    "lost journal": _lose_the_journal,
    "lost ring": _lose_a_ring,
}


# ---- to a process --------------------------------------------------------------------------------


def _in_a_turn(world: "World", victim: Process, happen: Callable[[], None]) -> None:
    victim.after_steps(1 + int(world.dice.random() ** 2 * MAX_STEPS), happen)


def _freeze_for_ever(world: "World", victim: Process) -> None:
    """The watchdog kills it; or, whom that does not watch, somebody else."""
    victim.freeze(FOR_EVER_S)
    if victim.service in (WATCHDOG, APP):
        world.timeline.at(world.timeline.now_s + SUPERVISE_S, victim.kill)


_TO_A_PROCESS: dict[str, Callable[["World", Fault, Process], None]] = {
    "kill": lambda world, fault, victim: victim.kill(),
    "away": lambda world, fault, victim: world.host.keep_away(victim, AWAY * fault.length_s),
    "terminate": lambda world, fault, victim: victim.terminate(),
    "freeze": lambda world, fault, victim: victim.freeze(fault.length_s),
    "kill in a turn": lambda world, fault, victim: _in_a_turn(world, victim, victim.kill),
    "freeze in a turn": lambda world, fault, victim: _in_a_turn(world, victim, lambda: victim.freeze(fault.length_s)),
    "freeze for ever": lambda world, fault, victim: _in_a_turn(world, victim, lambda: _freeze_for_ever(world, victim)),
}
