"""Back-off for a program that keeps crashing: never given up, never spinning.

supervisord cannot do this: its own back-off grows without a cap and ends in FATAL for ever, and with
`startsecs=0`, which avoids both, it restarts as fast as it can.
"""

import json
import re
import time
from pathlib import Path

from ..config import load
from ..errors import SettingsError

FREE_STARTS = 3  # within WINDOW_S; nobody waits for the first restarts
WINDOW_S = 30.0
FIRST_WAIT_S = 0.1
MAX_WAIT_S = 10.0


def wait_s(starts_s: list[float], now_s: float) -> float:
    """How long a program with these earlier start times waits before it goes on."""
    recent = [start_s for start_s in starts_s if 0 <= now_s - start_s < WINDOW_S + MAX_WAIT_S]
    crashes = len(recent) - FREE_STARTS
    return min(FIRST_WAIT_S * 2**crashes, MAX_WAIT_S) if crashes >= 0 else 0.0


def wait_if_crashing(command: str) -> None:
    """Notes this start in the runtime directory and sleeps if there were too many of late."""
    try:
        runtime_dir = load().runtime_dir
    except SettingsError:
        return  # the service itself will say so, and exit with EX_CONFIG
    now_s = time.monotonic()
    starts_s = starts_of(runtime_dir, command)
    _write(_file(runtime_dir, command), [*starts_s[-9:], now_s])
    time.sleep(wait_s(starts_s, now_s))


def starts_of(runtime_dir: str, command: str) -> list[float]:
    """When this command was started of late: the module and arguments given to launch, such as `voicetap_capture 1`."""
    try:
        return [float(start_s) for start_s in json.loads(_file(runtime_dir, command).read_text())]
    except (OSError, ValueError, TypeError):
        return []  # none yet, or torn by a kill: only the waiting time depends on it


def _file(runtime_dir: str, command: str) -> Path:
    return Path(runtime_dir, f"{re.sub('[^a-z0-9]+', '-', command.lower())}.starts")


def _write(path: Path, starts_s: list[float]) -> None:
    try:
        path.write_text(json.dumps(starts_s))
    except OSError:
        return  # no runtime directory, or a full one: the service finds out and says so
