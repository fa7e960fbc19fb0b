"""`voicetap down`: stops what `voicetap up` started, in order."""

import os
import signal
import time
from pathlib import Path

import click

from voicetap import config, runtime

from .box import LOCK_NAME, BundleError

EXIT_NOTHING_RUNS = 3
STOP_S = 10.0


@click.command("down")
def down_command() -> None:
    """Stop everything. What was said until now is still transcribed."""
    runtime_dir = Path(config.load().runtime_dir)
    lock = runtime.Lock(runtime_dir, LOCK_NAME)
    if not runtime.is_held(runtime_dir, LOCK_NAME) or not (pid := lock.owner()):
        raise BundleError(f"nothing runs in {runtime_dir}", EXIT_NOTHING_RUNS)
    os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_S
    while runtime.is_held(runtime_dir, LOCK_NAME):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {pid} has not stopped within {STOP_S:g} s")
        time.sleep(0.05)
