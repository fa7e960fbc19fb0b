"""voicetap.service.launch: a service never outlives its supervisord."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rig.processes import environment, eventually

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


def test_a_service_whose_supervisord_died_before_the_request_exits(module):
    with launch(module | {"VOICETAP_SUPERVISOR_PID": "1"}, "-m", "voicetap.service.launch", "fake_service") as orphan:
        assert orphan.wait(5) == 1 and orphan.stdout.read() == ""


def test_a_service_started_by_hand_runs_with_private_files(module):
    with launch(module, "-m", "voicetap.service.launch", "fake_service", "--name", "x") as service:
        output = service.stdout.readline()
        assert output == f"{service.pid} 0o77 (0, 0) ['--name', 'x']\n", "the same process, private files, no core"
        service.send_signal(signal.SIGTERM)
        assert service.wait(5) == -signal.SIGTERM


def test_the_request_precedes_slow_imports(module):
    code = (
        "import sys; import voicetap.service.launch; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & set(sys.argv[1:])))"
    )
    slow = ("zmq", "msgpack", "dataclasses", "logging", "typing", "tomllib", "json")
    with launch(module, "-c", code, *slow) as process:
        assert process.stdout.read() == "['typing']\n"


def test_what_the_suite_starts_is_ended_by_sigint_also_when_the_suite_runs_in_the_background_of_a_script(runtime_dir):
    code = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import conftest
sys.exit(subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"]).returncode)
"""
    environ = environment(runtime_dir) | {"PYTHONPATH": str(Path(__file__).parent)}
    with launch(environ, "-c", code) as suite:
        assert suite.wait(20) == 256 - signal.SIGINT


def test_the_kernel_kills_a_worker_first_and_journal_and_capture_last(module, tmp_path):
    own = int(Path("/proc/self/oom_score_adj").read_text())
    scores = {}
    for service in ("transcribe", "vad", "watchdog", "journal", "capture"):
        code = "from pathlib import Path; print(Path('/proc/self/oom_score_adj').read_text())"
        (tmp_path / f"voicetap_{service}.py").write_text(code)
        with launch(module, "-m", "voicetap.service.launch", f"voicetap_{service}") as process:
            scores[service] = int(process.stdout.read()) - own
    assert list(scores) == sorted(scores, key=lambda name: -scores[name]) and scores["transcribe"] == 500
    assert scores["journal"] == scores["capture"] == 0
