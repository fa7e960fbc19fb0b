"""voicetap.service.launch: a service never outlives its supervisord, and one that keeps crashing waits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rig.processes import environment, eventually
from voicetap.service import restart_backoff
from voicetap.service.restart_backoff import MAX_WAIT_S, wait_s

SERVICE = """
import os, resource, sys, time
print(os.getpid(), oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE), sys.argv[1:], flush=True)
time.sleep(60)
"""
SUPERVISOR = """
import os, subprocess, sys, time
os.environ["VOICETAP_SUPERVISOR_PID"] = str(os.getpid())
subprocess.Popen([sys.executable, "-m", "voicetap.service.launch", *sys.argv[1:]])
time.sleep(60)
"""


@pytest.fixture
def module(tmp_path: Path, runtime_dir: Path) -> dict[str, str]:
    """The environment in which the module `fake_service` can be launched."""
    (tmp_path / "fake_service.py").write_text(SERVICE)
    return environment(runtime_dir) | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}


@contextmanager
def launch(environ: dict[str, str], *command: str) -> Iterator[subprocess.Popen]:
    with subprocess.Popen([sys.executable, *command], env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_service_dies_with_its_supervisord_even_when_it_is_frozen(module):
    with launch(module, "-c", SUPERVISOR, "fake_service") as supervisor:
        pid = int(supervisor.stdout.readline().split()[0])
        child = psutil.Process(pid)
        child.suspend()
        supervisor.kill()
        supervisor.wait()
        gone = lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # noqa: E731
        eventually(gone, 2, "the child is gone")


def test_a_service_whose_supervisord_died_before_it_could_ask_ends_itself(module):
    with launch(module | {"VOICETAP_SUPERVISOR_PID": "1"}, "-m", "voicetap.service.launch", "fake_service") as orphan:
        assert orphan.wait(5) == 1 and orphan.stdout.read() == ""


def test_a_service_started_by_hand_just_runs_privately(module):
    with launch(module, "-m", "voicetap.service.launch", "fake_service", "--name", "x") as service:
        said = service.stdout.readline()
        assert said == f"{service.pid} 0o77 (0, 0) ['--name', 'x']\n", "the same process, private files, no core"
        service.send_signal(signal.SIGTERM)
        assert service.wait(5) == -signal.SIGTERM


def test_it_asks_before_it_imports_anything_slow(module):
    code = (
        "import sys; import voicetap.service.launch; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & set(sys.argv[1:])))"
    )
    slow = ("zmq", "msgpack", "dataclasses", "logging", "typing", "tomllib", "json")
    with launch(module, "-c", code, *slow) as process:
        assert process.stdout.read() == "['typing']\n"


@pytest.mark.parametrize(
    "ago_s, expected_s",
    [
        ([], 0),
        ([1], 0),
        ([2, 1], 0),
        ([3, 2, 1], 0.1),
        ([4, 3, 2, 1], 0.2),
        ([5, 4, 3, 2, 1], 0.4),
        (range(10, 0, -1), MAX_WAIT_S),
        (range(300, 0, -1), MAX_WAIT_S),
        ([100, 90, 80, 2, 1], 0),
        ([-5, -6, -7, -8], 0),  # a clock of before the reboot
    ],
)
def test_the_wait_doubles_and_is_forgotten(ago_s, expected_s):
    assert wait_s([1000.0 - ago for ago in ago_s], 1000.0) == pytest.approx(expected_s)


def test_a_program_that_crashes_at_once_is_tried_for_ever_but_not_often():
    starts: list[float] = []
    now_s = 0.0
    for _ in range(200):
        wait = wait_s(starts[-10:], now_s)
        starts.append(now_s)
        now_s += wait + 0.05
    late = [later - earlier for earlier, later in zip(starts[100:], starts[101:], strict=False)]
    assert max(late) < MAX_WAIT_S + 0.1 and sum(late) / len(late) > 2


def test_starts_are_noted_per_program_and_survive_what_may_be_in_the_file(runtime_dir, monkeypatch):
    slept: list[float] = []
    monkeypatch.setenv("VOICETAP_RUNTIME_DIR", str(runtime_dir))
    monkeypatch.setattr(time, "sleep", slept.append)
    for _ in range(5):
        restart_backoff.wait_if_crashing("voicetap_capture --source mic")
    assert slept == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]
    [path] = runtime_dir.iterdir()
    assert path.name == "voicetap-capture-source-mic.starts"
    for torn in ("[1.0, 2", "{}", "null", "[null]", '["x"]'):
        path.write_text(torn)
        restart_backoff.wait_if_crashing("voicetap_capture --source mic")
        assert slept[-1] == 0
    path.write_bytes(b"\xff\xfe")
    restart_backoff.wait_if_crashing("voicetap_capture --source mic")


def test_a_bad_setting_is_left_for_the_service_to_report(monkeypatch, runtime_dir):
    monkeypatch.setenv("VOICETAP_VAD_TRESHOLD", "1")
    restart_backoff.wait_if_crashing("voicetap_vad")
    monkeypatch.delenv("VOICETAP_VAD_TRESHOLD")
    monkeypatch.setenv("VOICETAP_RUNTIME_DIR", str(runtime_dir / "none"))
    restart_backoff.wait_if_crashing("voicetap_vad")
    assert os.listdir(runtime_dir) == []
