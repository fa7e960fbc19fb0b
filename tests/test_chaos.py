"""Faults in a running bundle: processes are killed, stopped, paused and terminated; no speech is lost or doubled."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import failpoints, fault_run, faults, speech, world
from rig.fault_run import FaultRun
from rig.faults import Fault
from voicetap_bundle import Bundle

SENTENCES = 7
DECODE_S = 0.2
REACH_S = 30.0

pytestmark = [
    pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> world.World:
    return world.build(tmp_path_factory.mktemp("world"), SENTENCES)


@pytest.fixture
def attacked(played: world.World, runtime_dir: Path, monkeypatch) -> Callable[..., None]:
    """`attacked(attack, pace)` runs a bundle, calls `attack(run)`, and fails on any violation."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import the coded engine from there

    def run(attack: Callable[[FaultRun], None], pace: str, **settings: object) -> None:
        box = Bundle(
            f"file:{played.path}",
            engine="rig.coded:CodedEngine",
            model=str(DECODE_S),
            pace=pace,
            runtime_dir=str(runtime_dir),
            settings=fault_run.SHORT_TIMEOUTS | {"transcribe.workers": 2} | settings,
        )
        _, violations = fault_run.run_under_faults(box, runtime_dir, played, attack)
        assert violations == []

    return run


@pytest.mark.parametrize("seed", [1])
def test_every_word_is_published_once_and_in_order(seed: int, attacked, runtime_dir):
    """20 faults: every kind in every service."""

    def attack(run: FaultRun) -> None:
        for fault in faults.plan(seed, count=20, every_s=0.8):
            run.wait(fault.after_s)
            faults.inject(fault, runtime_dir)

    attacked(attack, "realtime")


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("action", ["KILL", "STOP"])
def test_a_crash_at_every_failpoint(action: str, part: int, attacked, runtime_dir, monkeypatch):
    """Every one of failpoints.FAILPOINTS, a third of them in each run."""
    reach_all(attacked, runtime_dir, monkeypatch, failpoints.share(part, 3), action)


@pytest.mark.parametrize("action, part", [("hang", 0), ("gil", 1)])
def test_a_hang_at_many_failpoints(action: str, part: int, attacked, runtime_dir, monkeypatch):
    reach_all(attacked, runtime_dir, monkeypatch, failpoints.share(part, 5), action)


def reach_all(attacked: Callable, runtime_dir: Path, monkeypatch, names: list[str], action: str) -> None:
    monkeypatch.setenv("VOICETAP_FAILPOINTS", failpoints.plan(names, action, seed=len(action)))

    def attack(run: FaultRun) -> None:
        run.wait(1.0)
        assert run.reach(names, REACH_S) == [], "failpoints that were not reached"

    attacked(attack, "max", **fault_run.SMALL_RING)


def test_faults_in_the_whole_bundle(attacked, runtime_dir):
    """Foreign clients at every socket, all processes paused, supervisord killed, supervisord stopped."""

    def attack(run: FaultRun) -> None:
        run.wait(1.0)
        faults.inject(Fault("intrude", faults.ALL, 0), runtime_dir)
        run.wait(1.0)
        before, spawned = run.pids(), run.spawned()
        faults.inject(Fault("pause", faults.ALL, 0, pause_s=3.0), runtime_dir)
        run.wait(3.0)
        assert run.spawned() - spawned <= len(before), "each is restarted at most once"
        faults.inject(Fault("intrude", faults.ALL, 0), runtime_dir)
        for kind in ("kill", "stop"):
            before = run.pids()
            [supervisord] = faults.inject(Fault(kind, "supervisord", 0), runtime_dir)
            deadline_s = time.monotonic() + REACH_S
            while set(before.values()) & set(run.pids().values()) and time.monotonic() < deadline_s:
                run.wait(0.2)
            assert not set(before.values()) & set(run.pids().values()), "every program is a new process"
            assert [process.pid for process in faults.find("supervisord", runtime_dir)] != [supervisord]

    attacked(attack, "realtime")
