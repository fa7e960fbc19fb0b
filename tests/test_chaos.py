"""The promise, attacked: processes of a running bundle are killed, stopped, paused and ended while somebody speaks."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import failpoints, nemesis, siege, speech, world
from rig.nemesis import BOX, Fault
from rig.siege import Siege
from voicetap_bundle import Bundle

SENTENCES = 7
DECODE_S = 0.2
REACH_S = 30.0

pytestmark = [
    pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def attacked(tmp_path: Path, runtime_dir: Path, monkeypatch) -> Callable[..., None]:
    """`attacked(attack, pace)` runs a bundle under `attack(siege)`, and fails on any violation of its promise."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers, where the coded engine is
    played = world.make(tmp_path, SENTENCES)

    def run(attack: Callable[[Siege], None], pace: str, **settings: object) -> None:
        box = Bundle(
            f"file:{played.path}",
            engine="rig.coded:CodedEngine",
            model=str(DECODE_S),
            pace=pace,
            runtime_dir=str(runtime_dir),
            settings=siege.QUICK | {"transcribe.workers": 2} | settings,
        )
        _, violations = siege.under(box, runtime_dir, played, attack)
        assert violations == []

    return run


@pytest.mark.parametrize("seed", [1])
def test_every_word_is_published_once_and_in_order(seed: int, attacked, runtime_dir):
    """20 faults: every kind against every service."""

    def attack(siege: Siege) -> None:
        for fault in nemesis.plan(seed, count=20, every_s=0.8):
            siege.listen(fault.after_s)
            nemesis.inject(fault, runtime_dir)

    attacked(attack, "realtime")


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("what", ["KILL", "STOP"])
def test_a_crash_at_every_moment(what: str, part: int, attacked, runtime_dir, monkeypatch):
    """Every moment of failpoints.MOMENTS, a third of them in each run."""
    under_crashes(attacked, runtime_dir, monkeypatch, failpoints.share(part, 3), what)


@pytest.mark.parametrize("what, part", [("hang", 0), ("gil", 1)])
def test_a_hang_at_many_moments(what: str, part: int, attacked, runtime_dir, monkeypatch):
    under_crashes(attacked, runtime_dir, monkeypatch, failpoints.share(part, 5), what)


def under_crashes(attacked: Callable, runtime_dir: Path, monkeypatch, moments: list[str], what: str) -> None:
    monkeypatch.setenv("VOICETAP_FAILPOINTS", failpoints.plan(moments, what, seed=len(what)))

    def attack(siege: Siege) -> None:
        siege.listen(1.0)
        assert siege.reach(moments, REACH_S) == [], "moments that nobody came to"

    attacked(attack, "max", **{"capture.ring_s": 10})


def test_the_whole_box_is_hurt(attacked, runtime_dir):
    """Strangers at every socket, everything stopped and continued, supervisord killed, supervisord frozen."""

    def attack(siege: Siege) -> None:
        siege.listen(1.0)
        nemesis.inject(Fault("intrude", BOX, 0), runtime_dir)
        siege.listen(1.0)
        before, spawned = siege.pids(), siege.spawned()
        nemesis.inject(Fault("pause", BOX, 0, pause_s=3.0), runtime_dir)
        siege.listen(3.0)
        assert siege.spawned() - spawned <= len(before), "no storm of restarts: each at most once"
        nemesis.inject(Fault("intrude", BOX, 0), runtime_dir)
        for kind in ("kill", "stop"):
            before = siege.pids()
            [supervisord] = nemesis.inject(Fault(kind, "supervisord", 0), runtime_dir)
            deadline_s = time.monotonic() + REACH_S
            while set(before.values()) & set(siege.pids().values()) and time.monotonic() < deadline_s:
                siege.listen(0.2)
            assert not set(before.values()) & set(siege.pids().values()), "all began anew"
            assert [process.pid for process in nemesis.find("supervisord", runtime_dir)] != [supervisord]

    attacked(attack, "realtime")
