"""`voicetap down`: stops a running bundle in order."""

import os
import signal
import time

import click

from voicetap import Tap, config
from voicetap.messages import Failed
from voicetap.service.locks import Lock, is_held
from voicetap.service.shutdown import BUNDLE_KILL_S
from voicetap.tap import TapMessage
from voicetap.vocabulary import Reason
from voicetap_watchdog.layout import BundleLayout

from ..bundle import EXIT_NOT_RUNNING, BundleError

MESSAGE_TIMEOUT_S = 0.05


class UntranscribedCounter:
    """Counts the utterances without text at the end of a stop, for which a slow engine had no time."""

    def __init__(self) -> None:
        self.count = 0

    def on_message(self, message: TapMessage | None) -> None:
        self.count += isinstance(message, Failed) and message.reason == Reason.STOPPED

    def __str__(self) -> str:
        many = "utterance was" if self.count == 1 else "utterances were"
        return f"{self.count} {many} not transcribed: there was no time for it"


@click.command("down")
def command() -> None:
    """Stop everything. What was said until now is still transcribed, where that takes no more than a few seconds."""
    settings = config.load_for_client()
    layout = BundleLayout(settings)
    lock = Lock(layout.runtime_dir, layout.lock_name)
    if not is_held(layout.runtime_dir, layout.lock_name) or not (pid := lock.owner()):
        raise BundleError(f"nothing runs in {settings.runtime_dir}", EXIT_NOT_RUNNING)
    untranscribed = UntranscribedCounter()
    with Tap(settings=settings) as tap:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # a stopped process handles SIGTERM only once continued
        deadline_s = time.monotonic() + BUNDLE_KILL_S
        while is_held(layout.runtime_dir, layout.lock_name):
            untranscribed.on_message(tap.next(timeout_s=MESSAGE_TIMEOUT_S))
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"process {pid} has not stopped within {BUNDLE_KILL_S:g} s")
        while (message := tap.next(timeout_s=0)) is not None:
            untranscribed.on_message(message)
    if untranscribed.count:
        click.echo(str(untranscribed))
    if layout.has_audio():
        click.echo("the last utterances are not transcribed yet: the next start resumes with them")
