"""A wall clock that a test may set, for processes with this directory on their PYTHONPATH.

Time is wrong by as many seconds as the file $WALL_CLOCK says.
"""

import os
import time


def _offset_ns() -> int:
    try:
        with open(os.environ["WALL_CLOCK"]) as file:
            return int(file.read()) * 1_000_000_000
    except (KeyError, OSError, ValueError):
        return 0


_true_ns = time.time_ns
time.time_ns = lambda: _true_ns() + _offset_ns()
time.time = lambda: time.time_ns() / 1e9  # noqa: TID251  as supervisord reads it
