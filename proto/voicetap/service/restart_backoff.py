"""Restart back-off for a program that keeps crashing: bounded, and without a last attempt.

supervisord cannot do this: its own back-off grows without a cap and ends in FATAL, and with `startsecs=0`, which avoids
both, it restarts without any delay.
"""

import json
import re
import time
from pathlib import Path

from ..config import load
from ..errors import SettingsError

FREE_STARTS = 3  # within WINDOW_S; the first restarts are immediate
WINDOW_S = 30.0
FIRST_WAIT_S = 0.1
MAX_WAIT_S = 10.0


def wait_s(starts_s: list[float], now_s: float) -> float:
    """The delay before the next start of a program with these earlier start times."""
    recent = [start_s for start_s in starts_s if 0 <= now_s - start_s < WINDOW_S + MAX_WAIT_S]
    crashes = len(recent) - FREE_STARTS
    return min(FIRST_WAIT_S * 2**crashes, MAX_WAIT_S) if crashes >= 0 else 0.0


def wait_if_crashing(command: str) -> None:
    """Records this start in the runtime directory, and sleeps after too many recent ones.

    `command`: the module and arguments given to launch, such as `voicetap_capture 1`.
    """
    try:
        runtime_dir = load().runtime_dir
    except SettingsError:
        return  # the service itself logs it and exits with EX_CONFIG
    now_s = time.monotonic()
    path = Path(runtime_dir, f"{re.sub('[^a-z0-9]+', '-', command.lower())}.starts")
    count, starts_s = _read(path)
    _write(path, count + 1, [*starts_s[-9:], now_s])
    time.sleep(wait_s(starts_s, now_s))


def starts_of(runtime_dir: Path | str, program: str) -> list[float]:
    """The times of the last ten starts of a program: `capture-1`, `vad`, `watchdog-journal`."""
    return _read(Path(runtime_dir, starts_file(program)))[1]


def count_of(runtime_dir: Path | str, program: str) -> int:
    """How often a program was started in this runtime directory."""
    return _read(Path(runtime_dir, starts_file(program)))[0]


def starts_file(program: str) -> str:
    """The name of the file with these times: what `wait_if_crashing` derives from the program's command.

    `program` may be a glob pattern.
    """
    argument = f"watchdog-{program}" if program.startswith("watchdog") else program  # its own name is its argument
    return f"voicetap-{argument}.starts"


def _read(path: Path) -> tuple[int, list[float]]:
    """The count of all starts, and the times of the last ones."""
    try:
        count, *starts_s = json.loads(path.read_text())
        return int(count), [float(start_s) for start_s in starts_s]
    except (OSError, ValueError, TypeError):
        return 0, []  # none yet, or torn by a kill: only the delay and a number in `status` depend on it


def _write(path: Path, count: int, starts_s: list[float]) -> None:
    try:
        path.write_text(json.dumps([count, *starts_s]))
    except OSError:
        return  # no runtime directory, or a full disk: the service itself reports it
