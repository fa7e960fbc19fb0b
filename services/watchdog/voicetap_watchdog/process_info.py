"""What the kernel says about a process, by its pid."""

import os
import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    return bool(stat := _stat(pid)) and stat[0] not in "ZX"


def age_s(pid: int) -> float:
    """Seconds since the process was started, by the kernel's clock; 0 when there is none."""
    stat = _stat(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
