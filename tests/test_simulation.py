"""The promise in simulated worlds: the services' own code under virtual time, a bad network, kills and freezes.

The seeds are fixed, so that a failure is a consequence of a change; `bench/simulate.py` runs random ones. It also shows
what happens in the world of a seed that fails: `.venv/bin/python bench/simulate.py --seed SEED --trace`.
"""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sim import stand_ins, timeline, witness, world
from voicetap.messages import Committed
from voicetap.vocabulary import Reason, SourceStatus
from voicetap_capture.service import CaptureService
from voicetap_journal import sequencer
from voicetap_journal.service import JournalService
from voicetap_vad.dispatcher import Outbox
from voicetap_vad.segment_store import SegmentStore

FEW_SEEDS = range(1, 21)  # a second: for every change
MANY_SEEDS = range(21, 301)  # each of witness.SOMETIMES happens in at least 7 of these worlds
MUTANT_SEEDS = (*FEW_SEEDS, *MANY_SEEDS)
BENCH = Path(__file__).parents[1] / "bench/simulate.py"


@pytest.mark.parametrize("seed", FEW_SEEDS)
def test_few_worlds_keep_the_promise(seed):
    assert world.run(seed).violations == []


@pytest.mark.timeout(600)  # 20 s of CPU. Each world is bounded by timeline.MAX_EVENTS; all of them have to be run
def test_many_worlds_keep_the_promise_and_show_what_they_should():
    happened = Counter()
    for seed in MANY_SEEDS:
        witnessed = world.run(seed)
        assert witnessed.violations == [], f"again: bench/simulate.py --seed {seed} --trace"
        happened += witnessed.happened
    assert [what for what in witness.SOMETIMES if not happened[what]] == [], "never happened"


def test_a_world_that_does_not_come_to_rest_is_ended():
    line = timeline.Timeline()

    def repeat():
        line.at(line.now_s, repeat)

    repeat()
    with pytest.raises(timeline.EndlessError):
        line.run(until_s=timeline.START_S + 1)


def test_a_module_that_escapes_the_simulation_is_refused(monkeypatch):
    monkeypatch.setattr(sequencer, "now_s", time.monotonic, raising=False)
    with pytest.raises(stand_ins.EscapeError, match="voicetap_journal.sequencer reaches the real world by now_s"):
        world.run(1)


def test_a_seed_decides_everything():
    """Also in another process, where sets of strings have another order."""
    lines: list[str] = []
    world.run(5, lines.append)
    command = [sys.executable, str(BENCH), "--seed", "5", "--trace"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert again.stdout.splitlines() == lines and len(lines) > 300


def _publish_before_the_ring_has_it(self, frames) -> None:
    for frame in frames:
        self._audio.send(frame)
        self._ring.commit(frame)


def _acknowledge_before_it_is_stored(self, entry, now_s) -> None:
    self._commits.send(Committed(utterance_id=entry.utterance_id, journal_seq=0))
    self._sequencer.add(entry, now_s)
    self._unstored[entry.utterance_id] = entry


_last_disturbed_s: dict[tuple[str, str], float] = {}  # by world and source


def _ignore_a_while(reason, is_disturbed, is_due, read_source=CaptureService._read_source):
    """A capture that ignores what its microphone hears while `is_due`, and names a reason that its world knows."""

    def broken(self) -> None:
        if not self._source.live:
            return read_source(self)
        now_s, world_dir = self._source._now(), self._node.settings.runtime_dir
        if is_disturbed(self, now_s):
            _last_disturbed_s[world_dir, self._name] = now_s
        since_s = {
            name: now_s - last_s for (directory, name), last_s in _last_disturbed_s.items() if directory == world_dir
        }
        if not is_due(since_s.pop(self._name, -1.0), list(since_s.values())):
            return read_source(self)
        self._publish(self._framer.flush())
        self._source.read(1 << 20)
        self._gap_reason = reason if self._ring.next_seq else ""

    return [(CaptureService, "_read_source", broken)]


def _is_lost(self, now_s) -> bool:
    return self._source.state == SourceStatus.LOST


def _was_frozen(self, now_s) -> bool:
    return now_s - self._source.read_s > 0.5


def _is_restarted(self, now_s) -> bool:
    return self._gap_reason == Reason.CAPTURE_RESTART


def _once_later(own_s, others_s) -> bool:
    return 1.0 < own_s < 1.6


def _for_another(own_s, others_s) -> bool:
    return any(0 < other_s < 0.6 for other_s in others_s)


MUTANTS = {
    "a lost device silences another source": _ignore_a_while(Reason.DEVICE_LOST, _is_lost, _for_another),
    "a device is lost once more, without cause": _ignore_a_while(Reason.DEVICE_LOST, _is_lost, _once_later),
    "a restart costs more, later": _ignore_a_while(Reason.CAPTURE_RESTART, _is_restarted, _once_later),
    "a freeze silences another source": _ignore_a_while(Reason.OVERFLOW, _was_frozen, _for_another),
    "no entry is known to journal": [(sequencer.StreamSequence, "contains", lambda self, number: False)],
    "a lost lease is not noticed": [
        (Outbox, "_expire", lambda self, now_s: ()),
        (Outbox, "_on_worker_lost", lambda self, worker: ()),
    ],
    "stored segments are ignored": [(SegmentStore, "segments", lambda self: [])],
    "stored checkpoints are ignored": [(SegmentStore, "load_checkpoint", lambda self, stream: None)],
    "acknowledged before it is stored": [(JournalService, "_add_entry", _acknowledge_before_it_is_stored)],
    "published before the ring has it": [(CaptureService, "_publish", _publish_before_the_ring_has_it)],
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_service_is_caught(name, monkeypatch):
    for place, attribute, broken in MUTANTS[name]:
        monkeypatch.setattr(place, attribute, broken)
    assert any(world.run(seed).violations for seed in MUTANT_SEEDS)
