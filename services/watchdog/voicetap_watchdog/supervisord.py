"""Runs supervisord so that it cannot outlive `supervise`, and tells its children whose children they are.

The only file that imports supervisor. It runs unpatched, but for the clock it waits by: whoever waits for it pokes its
RPC (see rpc.py).
"""

import os
import time

from voicetap.service.launch import die_with_parent


class SteadyClock:
    """Stands in for the module `time` where supervisord counts how long a program takes to stop.

    By the wall clock, one that is set an hour forward during a stop has everything killed at once.
    """

    def __init__(self) -> None:
        self._origin_s = time.time_ns() / 1e9 - time.monotonic()

    def time(self) -> float:
        return self._origin_s + time.monotonic()


def main() -> None:
    die_with_parent()
    os.environ["VOICETAP_SUPERVISOR_PID"] = str(os.getpid())
    from supervisor import process, supervisord

    process.time = SteadyClock()
    supervisord.main()


if __name__ == "__main__":
    main()
