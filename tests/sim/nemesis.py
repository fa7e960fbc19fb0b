"""Injects the faults of a scenario, and heals the world before it is checked."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from voicetap.codec import decode

from .host import APP, WATCHDOG
from .lost_files import Loss
from .network import Conditions
from .process import FOR_EVER_S, Process
from .scenario import Fault
from .timeline import START_S

if TYPE_CHECKING:
    from .world import World

AWAY_FACTOR = 5  # longer than other faults, and than a small ring
MAX_WRITES = 10  # steps of one transaction of journal
MAX_STEPS = 60  # of a process, until it dies or freezes in a turn
SUPERVISE_S = 1.5  # until supervise kills a frozen watchdog


def schedule_faults(world: "World") -> None:
    for fault in world.scenario.faults:
        world.timeline.at(START_S + fault.at_s, lambda fault=fault: _inject(world, fault))
    words = [word for source in world.sources for word in source.sound.words]
    for fault in world.scenario.word_faults if words else ():
        world.engine.faulty_words[world.dice.choice(words)] = fault


def heal(world: "World") -> None:
    """From now on there are no new faults. Faulty words stay faulty."""
    world.network.conditions = Conditions(depth=world.network.conditions.depth)
    world.disk.full = False
    world.disk.cancel_faults()
    world.engine.slow = 0.0
    for program in world.host.programs.values():
        if program.process:
            program.process.cancel_faults()


def _inject(world: "World", fault: Fault) -> None:
    world.witness.count(f"fault: {fault.kind}")
    if world.tracing:
        world.trace("nemesis", f"{fault}")
    if inject := _WORLD_FAULTS.get(fault.kind):
        return inject(world, fault)
    victims = [program.process for program in world.host.programs.values() if program.process]
    if victims:
        _PROCESS_FAULTS[fault.kind](world, fault, victims[int(fault.chance * len(victims))])


# ---- faults of the world -------------------------------------------------------------------------


def _fill_the_disk(world: "World", fault: Fault) -> None:
    world.disk.full = True
    world.timeline.at(world.timeline.now_s + fault.length_s, lambda: setattr(world.disk, "full", False))


def _unplug_a_microphone(world: "World", fault: Fault) -> None:
    """Or all at once: they may share a bus."""
    chosen = int(fault.chance * (len(world.sources) + 1))
    for number, source in enumerate(world.sources):
        if source.room and chosen in (number, len(world.sources)):
            source.room.outages.append((world.timeline.now_s, world.timeline.now_s + fault.length_s))


def _set_the_clock(world: "World", fault: Fault) -> None:
    world.clock.wall_offset_s += (fault.chance - 0.5) * 7200


def _kill_while_writing(world: "World", fault: Fault) -> None:
    """Within a transaction, where a random step of a turn seldom is. Mostly journal's: every process trusts it."""
    files = ["journal.sqlite"] * (2 * len(world.sources)) + [f"cuts-{source.name}.sqlite" for source in world.sources]
    file, steps = files[int(fault.chance * len(files))], 1 + world.dice.randrange(MAX_WRITES)
    world.disk.after_steps(file, steps, lambda: world.running and world.running.kill())


def _delete_segments(world: "World", fault: Fault) -> None:
    _delete(world, "vad", lambda: [world.disk.delete(f"cuts-{source.name}.sqlite") for source in world.sources])


def _delete_journal(world: "World", fault: Fault) -> None:
    _delete(world, "journal", lambda: world.disk.delete("journal.sqlite"))
    world.witness.published.clear()  # a new journal counts from 1


def _delete_ring(world: "World", fault: Fault) -> None:
    _delete(world, "capture-1", lambda: Path(world.directory, "audio-s1.ring").unlink(missing_ok=True))


def _delete(world: "World", owner: str, delete: Callable[[], object]) -> None:
    """Deletes a file of the process `owner`, which is killed first: it has the file open."""
    if process := world.host.process(owner):
        process.kill()
    entries = [decode(body) for _, body in world.stored()]
    world.loss = Loss(entries, world.sources[0].stream, set(world.witness.announced), set(world.witness.frames))
    delete()


_WORLD_FAULTS: dict[str, Callable[["World", Fault], None]] = {
    "break": lambda world, fault: world.network.break_one(),
    "stall": lambda world, fault: world.network.stall_one(fault.length_s),
    "full disk": _fill_the_disk,
    "outage": _unplug_a_microphone,
    "clock": _set_the_clock,
    "kill while writing": _kill_while_writing,
    "lost cuts": _delete_segments,
    "lost journal": _delete_journal,
    "lost ring": _delete_ring,
}


# ---- faults of a process -------------------------------------------------------------------------


def _in_a_turn(world: "World", victim: Process, fault: Callable[[], None]) -> None:
    victim.after_steps(1 + int(world.dice.random() ** 2 * MAX_STEPS), fault)


def _freeze_for_ever(world: "World", victim: Process) -> None:
    """The watchdog kills the process; one that it does not watch is killed by its own supervisor."""
    victim.freeze(FOR_EVER_S)
    if victim.service in (WATCHDOG, APP):
        world.timeline.at(world.timeline.now_s + SUPERVISE_S, victim.kill)


_PROCESS_FAULTS: dict[str, Callable[["World", Fault, Process], None]] = {
    "kill": lambda world, fault, victim: victim.kill(),
    "away": lambda world, fault, victim: world.host.kill_and_block(victim, AWAY_FACTOR * fault.length_s),
    "terminate": lambda world, fault, victim: victim.terminate(),
    "freeze": lambda world, fault, victim: victim.freeze(fault.length_s),
    "kill in a turn": lambda world, fault, victim: _in_a_turn(world, victim, victim.kill),
    "freeze in a turn": lambda world, fault, victim: _in_a_turn(world, victim, lambda: victim.freeze(fault.length_s)),
    "freeze for ever": lambda world, fault, victim: _in_a_turn(world, victim, lambda: _freeze_for_ever(world, victim)),
}
