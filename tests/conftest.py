"""Fixtures for all tests: a private runtime directory and real processes in it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from rig import processes, real_weights
from voicetap import config
from voicetap.bus import Bus
from voicetap.settings import Settings

os.environ["VOICETAP_CONFIG"] = os.devnull  # bundles in this process do not read the developer's own voicetap.toml

# A shell ignores SIGINT in what a script starts in the background, and all children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, without a time limit for one: the machine may be busy.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if real_weights.skipped:
        terminalreporter.section("NOT TESTED: Whisper's weights are not installed (requirements-weights.lock)", "!")
        for test in sorted(set(real_weights.skipped)):
            terminalreporter.line(test)


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private directory with a path short enough for sockets. Fails the test if a process in it outlives the test."""
    path = Path(tempfile.mkdtemp(prefix="vt-"))
    yield path
    left = processes.processes_of(path)
    for process in left:
        process.kill()
    shutil.rmtree(path, ignore_errors=True)
    for log in path.parent.glob(f"{path.name}-*.log"):
        log.unlink()
    assert not left, f"left behind: {left}"


@pytest.fixture
def settings(runtime_dir: Path) -> Settings:
    return config.load({"VOICETAP_RUNTIME_DIR": str(runtime_dir), "VOICETAP_CONFIG": os.devnull})


@pytest.fixture
def bus(settings) -> Iterator[Callable[..., Bus]]:
    """`bus("vad")`: one of that service, closed with the test."""
    with ExitStack() as stack:
        yield lambda service, given=settings: stack.enter_context(Bus(service, given))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 200 kB. Only root may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k,mode=700", "tmpfs", str(tmp_path)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture
def spawn(runtime_dir: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`spawn("voicetap_vad", vad_threshold=0.4)`: a service as a process, killed after the test."""
    children: list[subprocess.Popen] = []

    def start(module: str, *arguments: str, **settings: str) -> subprocess.Popen:
        children.append(child := processes.start(module, runtime_dir, *arguments, **settings))
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
