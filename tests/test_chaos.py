"""The promise, attacked: processes of a running bundle are killed, stopped, paused and ended while somebody speaks."""

from pathlib import Path

import pytest

from rig import judge, nemesis, processes, speech, world
from voicetap.messages import Entry
from voicetap_bundle import Bundle

SEEDS = (1, 2, 3)
FAULTS = 20  # per seed: every kind of fault against every service
EVERY_S = 1.2
SENTENCES = 12
DECODE_S = 0.3
HEAL_S = 90.0


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_word_is_published_once_and_in_order(seed: int, tmp_path: Path, runtime_dir: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers, where the coded engine is
    played = world.make(tmp_path, SENTENCES)
    with Bundle(
        f"file:{played.path}",
        engine="rig.coded:CodedEngine",
        model=str(DECODE_S),
        pace="realtime",
        runtime_dir=str(runtime_dir),
        settings={"transcribe.workers": 2, "vad.max_attempts": 20},
    ) as box:
        entries = attack(box, runtime_dir, nemesis.plan(seed, FAULTS, EVERY_S))
    assert judge.violations(played, entries) == []
    processes.eventually(lambda: not processes.processes_of(runtime_dir), 5, "no process left")
    assert not runtime_dir.exists() or list(runtime_dir.iterdir()) == []


def attack(box: Bundle, runtime_dir: Path, faults: list[nemesis.Fault]) -> list[Entry]:
    """Everything published while the faults were injected, and after all was healed."""
    entries: list[Entry] = []
    with box.tap(since=1) as tap:
        for fault in faults:
            _listen(tap, entries, fault.after_s)
            nemesis.inject(fault, runtime_dir)
        processes.eventually(lambda: _listen(tap, entries, 0.2) or box.is_drained(), HEAL_S, "all sources drained")
        while heard := tap.next(timeout_s=1.0):
            entries.append(heard)
    return entries


def _listen(tap, entries: list[Entry], seconds: float) -> None:
    deadline_s = processes.time.monotonic() + seconds
    while (left_s := deadline_s - processes.time.monotonic()) > 0:
        if heard := tap.next(timeout_s=left_s):
            entries.append(heard)
