"""`voicetap tail`: prints transcripts as they are published."""

import click
from rich.console import Console

from voicetap import Tap

from ..console import LiveConsole, print_json


@click.command("tail")
@click.option("--json", "as_json", is_flag=True, help="Print messages as JSON, one a line, with the wire's fields.")
@click.option("--since", type=click.IntRange(min=1), metavar="N", help="First what was said from entry N on.")
@click.option("--interims", is_flag=True, help="Also words while they are spoken.")
@click.option("--events", is_flag=True, help="Also when speech starts and stops, and what happens to sources.")
@click.option("--source", default="", help="Only this one.")
def command(as_json: bool, since: int | None, interims: bool, events: bool, source: str) -> None:
    """Print transcripts as they come, until Ctrl-C. Waits for a bundle that does not run yet."""
    tap = Tap(since, interims=interims, events=events, source=source)
    with tap, LiveConsole(Console(highlight=False)) as console:
        for message in tap:
            print_json(message) if as_json else console.show(message)
