"""Fixtures that every test may use: a private runtime directory and real processes in it."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from rig import processes
from voicetap import config
from voicetap.settings import Settings

# The same examples every time, and however long one takes: the machine may be busy.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private directory with a path short enough for sockets. No process may outlive the test in it."""
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
    return config.load({"VOICETAP_RUNTIME_DIR": str(runtime_dir)})


@pytest.fixture
def spawn(runtime_dir: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`spawn("voicetap_vad", vad_threshold=0.4)`: a service as a process, ended with the test."""
    children: list[subprocess.Popen] = []

    def start(module: str, *arguments: str, **settings: str) -> subprocess.Popen:
        children.append(child := processes.start(module, runtime_dir, *arguments, **settings))
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
