"""`voicetap down`: stops a running bundle in order."""

import os
import signal
import time
from pathlib import Path

import click

from voicetap import Tap, config
from voicetap.service.locks import Lock, is_held
from voicetap.service.shutdown import BUNDLE_KILL_S

from ..bundle import LOCK_NAME, BundleError
from ..untranscribed import Untranscribed

EXIT_NOT_RUNNING = 3
MESSAGE_TIMEOUT_S = 0.05


@click.command("down")
def command() -> None:
    """Stop everything. What was said until now is still transcribed, where that takes no more than a few seconds."""
    settings = config.load()
    runtime_dir = Path(settings.runtime_dir)
    lock = Lock(runtime_dir, LOCK_NAME)
    if not is_held(runtime_dir, LOCK_NAME) or not (pid := lock.owner()):
        raise BundleError(f"nothing runs in {runtime_dir}", EXIT_NOT_RUNNING)
    untranscribed = Untranscribed()
    with Tap(settings=settings) as tap:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # a stopped process handles SIGTERM only once continued
        deadline_s = time.monotonic() + BUNDLE_KILL_S
        while is_held(runtime_dir, LOCK_NAME):
            untranscribed.hear(tap.next(timeout_s=MESSAGE_TIMEOUT_S))
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"process {pid} has not stopped within {BUNDLE_KILL_S:g} s")
        while (message := tap.next(timeout_s=0)) is not None:
            untranscribed.hear(message)
    if untranscribed.count:
        click.echo(str(untranscribed))
