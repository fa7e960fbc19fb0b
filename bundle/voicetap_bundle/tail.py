"""`voicetap tail` and `voicetap history`: what is said, and what was."""

import click
from rich.console import Console

from voicetap import Tap
from voicetap.tap import TapMessage

from .output import print_json
from .screen import Screen


@click.command("tail")
@click.option("--json", "as_json", is_flag=True, help="Print messages as JSON, one a line, with the wire's fields.")
@click.option("--since", type=click.IntRange(min=1), metavar="N", help="First what was said from entry N on.")
@click.option("--interims", is_flag=True, help="Also words while they are spoken.")
@click.option("--events", is_flag=True, help="Also when speech starts and stops, and what happens to sources.")
@click.option("--source", default="", help="Only this one.")
def tail_command(as_json: bool, since: int | None, interims: bool, events: bool, source: str) -> None:
    """Print transcripts as they come, until Ctrl-C. Waits for a bundle that does not run yet."""
    with Tap(since, interims=interims, events=events, source=source) as tap, Screen(_console()) as screen:
        for heard in tap:
            _print(heard, screen, as_json)


@click.command("history")
@click.option("--json", "as_json", is_flag=True, help="Print entries as JSON, one a line.")
@click.option("--since", type=click.IntRange(min=1), default=1, metavar="N", help="From entry N on.")
@click.option("--source", default="", help="Only this one.")
def history_command(as_json: bool, since: int, source: str) -> None:
    """Print what was said, and end. Journal must be running."""
    with Tap(since, source=source) as tap, Screen(_console()) as screen:
        for entry in tap.history():
            _print(entry, screen, as_json)


def _console() -> Console:
    return Console(highlight=False)


def _print(heard: TapMessage, screen: Screen, as_json: bool) -> None:
    print_json(heard) if as_json else screen.show(heard)
