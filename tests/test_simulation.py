"""The promise in simulated worlds: the services' own code under virtual time, a bad network, kills and freezes.

A seed that fails is printed; `.venv/bin/python bench/simulate.py --seed SEED --trace` shows what happens in it.
"""

import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sim import stand_ins, timeline, witness, world
from voicetap.messages import Committed
from voicetap_capture.service import Service as Capture
from voicetap_journal import sequencer
from voicetap_journal.service import JournalService
from voicetap_vad.cutlist import CutList
from voicetap_vad.outbox import Outbox

WORLDS = 400  # enough that everything that sometimes happens has happened
CPU_S = 60.0  # on a slow machine there are fewer; the clock on the wall says nothing where others work beside us
MUTANT_RUNS = 300
BENCH = Path(__file__).parents[1] / "bench/simulate.py"


@pytest.mark.parametrize("seed", range(1, 21))
def test_known_worlds_keep_the_promise(seed):
    assert world.run(seed).violations == []


@pytest.mark.timeout(10 * CPU_S)
def test_new_worlds_keep_the_promise():
    first = secrets.randbelow(1 << 40)
    happened, end_s = Counter(), time.process_time() + CPU_S
    for seed in range(first, first + WORLDS):
        if time.process_time() > end_s:
            return
        seen = world.run(seed)
        assert seen.violations == [], f"again: bench/simulate.py --seed {seed} --trace"
        happened += seen.happened
    never = [what for what in witness.SOMETIMES if not happened[what]]
    assert never == [], f"in {WORLDS} runs from seed {first} on"


def test_a_world_that_does_not_come_to_rest_is_ended():
    line = timeline.Timeline()

    def go_round():
        line.at(line.now_s, go_round)

    go_round()
    with pytest.raises(timeline.EndlessError):
        line.run(until_s=timeline.START_S + 1)


def test_a_module_that_escapes_the_simulation_is_refused(monkeypatch):
    monkeypatch.setattr(sequencer, "now_s", time.monotonic, raising=False)
    with pytest.raises(stand_ins.EscapeError, match="voicetap_journal.sequencer reaches the real world by now_s"):
        world.run(1)


def test_a_seed_decides_everything():
    """Also in another process, where sets of strings have another order."""
    lines: list[str] = []
    world.run(3, lines.append)
    command = [sys.executable, str(BENCH), "--seed", "3", "--trace"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert again.stdout.splitlines() == lines and len(lines) > 500


def _publish_before_the_ring_has_it(self, frames) -> None:
    for frame in frames:
        self._audio.send(frame)
        self._ring.commit(frame)


def _acknowledge_before_it_is_stored(self, entry, now_s) -> None:
    self._commits.send(Committed(utterance_id=entry.utterance_id, journal_seq=0))
    self._sequencer.add(entry, now_s)
    self._unstored[entry.utterance_id] = entry


MUTANTS = {
    "no entry is known to journal": [(sequencer.StreamSequence, "contains", lambda self, number: False)],
    "a lost lease is not noticed": [
        (Outbox, "_expire", lambda self, now_s: ()),
        (Outbox, "_lost", lambda self, worker: ()),
    ],
    "old cuts are not honoured": [(CutList, "cuts", lambda self: [])],
    "old marks are not honoured": [(CutList, "mark", lambda self, stream: None)],
    "acknowledged before it is stored": [(JournalService, "_add_entry", _acknowledge_before_it_is_stored)],
    "published before the ring has it": [(Capture, "_publish", _publish_before_the_ring_has_it)],
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_service_is_caught(name, monkeypatch):
    for place, attribute, broken in MUTANTS[name]:
        monkeypatch.setattr(place, attribute, broken)
    assert any(world.run(seed).violations for seed in range(1, MUTANT_RUNS + 1))
