"""Runs supervisord so that it cannot outlive `supervise`, and passes its pid on to its children.

The only file that imports supervisor. It runs unpatched, except for the clock of its stop timeouts. Its loop sleeps up
to a second; see supervisord_rpc.py for how it is woken.
"""

import os
import signal
import sys
import time

from voicetap.service.launch import die_with_parent


class MonotonicClock:
    """Replaces the module `time` where supervisord measures how long a program takes to stop.

    With the wall clock, setting it an hour forward during a stop would kill every program at once.
    """

    def __init__(self) -> None:
        self._origin_s = time.time_ns() / 1e9 - time.monotonic()

    def time(self) -> float:
        return self._origin_s + time.monotonic()


def main() -> None:
    # systemd and containers may send SIGTERM to every process at once. Only supervise acts on it: it stops supervisord
    # with SIGINT, and through it the programs, in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    die_with_parent()
    os.environ["VOICETAP_SUPERVISOR_PID"] = str(os.getpid())
    from supervisor import process, supervisord

    process.time = MonotonicClock()
    supervisord.main(["-c", _literal(sys.argv[1])])


def _literal(path: str) -> str:
    """The same file by a path without special characters: supervisord takes its directory for a glob pattern."""
    directory, name = os.path.split(path)
    return f"/proc/self/fd/{os.open(directory, os.O_PATH | os.O_DIRECTORY)}/{name}"


if __name__ == "__main__":
    main()
