"""The box's wall clock is set, by an hour, at the worst moments: nobody is killed, nothing waits, no word is lost."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import judge, speech, world
from rig.processes import eventually
from voicetap.messages import Final, SpeechStarted
from voicetap_bundle import Bundle

HOUR_S = 3600
TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch) -> Callable[[int], None]:
    """`set_clock(-3600)`: to everybody in the bundle it is an hour earlier."""
    path = tmp_path / "clock"
    monkeypatch.setenv("WALL_CLOCK", str(path))
    monkeypatch.setenv("PYTHONPATH", f"{TESTS / 'rig/clock'}:{TESTS}")

    def be_wrong_by(seconds: int) -> None:
        path.write_text(str(seconds))

    be_wrong_by(0)
    return be_wrong_by


@pytest.fixture
def bundle(tmp_path: Path, runtime_dir: Path, set_clock) -> Iterator[tuple[Bundle, world.World]]:
    played = world.build(tmp_path, sentences=4)
    source, engine = f"file:{played.path}", "rig.coded:CodedEngine"
    with Bundle(source, engine=engine, model="1.2", pace="realtime", runtime_dir=str(runtime_dir)) as box:
        yield box, played


def test_the_clock_of_the_tests_can_be_set(set_clock):
    set_clock(HOUR_S)
    ask = "import time; print(time.time(), time.time_ns())"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    set_clock(0)
    true = time.time_ns() / 1e9
    assert abs(float(told[0]) - true - HOUR_S) < 60 and abs(int(told[1]) / 1e9 - true - HOUR_S) < 60


def test_an_hour_back_and_forward_while_somebody_speaks(bundle, set_clock):
    box, played = bundle
    before = pids(box)
    entries = []
    with box.tap(since=1) as tap:
        for offset_s in (-HOUR_S, HOUR_S, 0):
            set_clock(offset_s)
            entries.append(eventually(lambda: tap.next(timeout_s=0.1), 20, "the next sentence"))
        assert pids(box) == before
        for offset_s in (-HOUR_S, HOUR_S):
            set_clock(offset_s)
            assert box.kill("vad")
            eventually(lambda old=before["vad"]: pids(box)["vad"] not in (0, old), 5, "another vad")
            before = pids(box)
        eventually(box.is_drained, 30, "all to be published")
        while (entry := tap.next(timeout_s=0.5)) is not None:
            entries.append(entry)
    assert judge.violations(played, entries) == []


def test_an_hour_forward_while_vad_waits_for_the_last_text(bundle, set_clock):
    box, _ = bundle
    heard, said = [], ""
    log = Path(box.settings.runtime_dir, "log/supervisord.log")
    with box.tap(since=1, events=True) as tap:
        being_said = eventually(lambda: started(tap, heard), 20, "speech")
        box.ask_to_stop()
        while box.is_running():
            heard.append(tap.next(timeout_s=0.02))
            with contextlib.suppress(OSError):
                said = log.read_text()
            if "stopped: capture-1" in said:
                set_clock(HOUR_S)
    assert being_said in [entry.utterance_id for entry in heard if isinstance(entry, Final)]
    assert "stopped: vad" in said and "killing" not in said


def started(tap, heard: list) -> object:
    heard.append(tap.next(timeout_s=0.1))
    return isinstance(heard[-1], SpeechStarted) and heard[-1].utterance_id


def pids(box: Bundle) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in box.status()["services"]}
