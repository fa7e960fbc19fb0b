"""The wall clock is set by an hour at critical times: no process is killed, nothing waits, no speech is lost."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import speech, verification, world
from rig.collector import TapCollector
from rig.processes import eventually
from voicetap.messages import Final, SpeechStarted
from voicetap_bundle import Bundle

HOUR_S = 3600
TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch) -> Callable[[int], None]:
    """`set_clock(-3600)`: sets the wall clock of all processes of the bundle back by an hour."""
    path = tmp_path / "clock"
    monkeypatch.setenv("WALL_CLOCK", str(path))
    monkeypatch.setenv("PYTHONPATH", f"{TESTS / 'rig/clock'}:{TESTS}")

    def set_offset(seconds: int) -> None:
        path.write_text(str(seconds))

    set_offset(0)
    return set_offset


@pytest.fixture
def bundle(tmp_path: Path, runtime_dir: Path, set_clock) -> Iterator[tuple[Bundle, world.World]]:
    played = world.build(tmp_path, sentences=4)
    source, engine = f"file:{played.path}", "rig.coded:CodedEngine"
    with Bundle(source, engine=engine, model="1.2", pace="realtime", runtime_dir=str(runtime_dir)) as box:
        yield box, played


def test_the_clock_of_the_tests_can_be_set(set_clock):
    set_clock(HOUR_S)
    code = "import time; print(time.time(), time.time_ns())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    set_clock(0)
    true = time.time_ns() / 1e9
    assert abs(float(printed[0]) - true - HOUR_S) < 60 and abs(int(printed[1]) / 1e9 - true - HOUR_S) < 60


def test_an_hour_back_and_forward_during_speech(bundle, set_clock):
    box, played = bundle
    before = pids(box)
    with box.tap(since=1) as tap:
        collector = TapCollector(tap)
        for number, offset_s in enumerate((-HOUR_S, HOUR_S, 0), 1):
            set_clock(offset_s)
            collector.until(lambda number=number: len(collector.messages) >= number, "the next sentence")
        assert pids(box) == before
        for offset_s in (-HOUR_S, HOUR_S):
            set_clock(offset_s)
            assert box.kill("vad")
            eventually(lambda old=before["vad"]: pids(box)["vad"] not in (0, old), 5, "another vad")
            before = pids(box)
        collector.until(box.is_drained, "all to be published", 30)
        collector.poll(0.5)
    assert verification.violations(played, collector.messages) == []


def test_an_hour_forward_while_vad_waits_for_the_last_text(bundle, set_clock):
    box, _ = bundle
    logged = ""
    log = Path(box.settings.runtime_dir, "log/supervisord.log")
    with box.tap(since=1, events=True) as tap:
        collector = TapCollector(tap)
        [started] = collector.until(lambda: collector.of(SpeechStarted), "speech")
        box.ask_to_stop()
        while box.is_running():
            collector.poll()
            with contextlib.suppress(OSError):
                logged = log.read_text()
            if "stopped: capture-1" in logged:
                set_clock(HOUR_S)
    assert started.utterance_id in [final.utterance_id for final in collector.of(Final)]
    assert "stopped: vad" in logged and "killing" not in logged


def pids(box: Bundle) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in box.status()["services"]}
