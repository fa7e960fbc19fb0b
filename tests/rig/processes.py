"""Real service processes, and waiting with a deadline."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")


def environment(runtime_dir: Path, **settings: str) -> dict[str, str]:
    """This process's environment with only these settings: `vad_threshold="0.4"`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VOICETAP_")}
    given = {f"VOICETAP_{name.upper()}": str(value) for name, value in settings.items()}
    private = {"VOICETAP_RUNTIME_DIR": str(runtime_dir), "HOME": str(runtime_dir), "VOICETAP_CONFIG": os.devnull}
    return clean | private | given


def start(module: str, runtime_dir: Path, *arguments: str, **settings: str) -> subprocess.Popen:
    """`python -W error -m MODULE ARGUMENTS`, its output in `<module>.log` beside the runtime directory."""
    log = open(Path(f"{runtime_dir}-{module}.log"), "ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, *arguments],
            env=environment(runtime_dir, **settings),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def output_of(module: str, runtime_dir: Path) -> str:
    path = Path(f"{runtime_dir}-{module}.log")
    return path.read_text() if path.exists() else ""


def eventually(question: Callable[[], T], within_s: float, what: str) -> T:
    """Calls `question` until its result is true, and returns that. Raises AssertionError after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while not (answer := question()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.01)
    return answer


def processes_of(runtime_dir: Path) -> list[psutil.Process]:
    """Every process, orphans included, whose environment names this runtime directory."""
    found = []
    for process in psutil.process_iter():
        try:
            named = process.environ().get("VOICETAP_RUNTIME_DIR") == str(runtime_dir)
            if named and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
