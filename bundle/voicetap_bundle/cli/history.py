"""`voicetap history`: prints the entries in the journal, and ends."""

import click
from rich.console import Console

from voicetap import Tap
from voicetap.errors import EX_TEMPFAIL

from ..console import LiveConsole, print_json


@click.command("history")
@click.option("--json", "as_json", is_flag=True, help="Print entries as JSON, one a line.")
@click.option("--since", type=click.IntRange(min=1), default=1, metavar="N", help="From entry N on.")
@click.option("--source", default="", help="Only this one.")
def command(as_json: bool, since: int, source: str) -> None:
    """Print what was said, and end. Journal must be running."""
    with Tap(since, source=source) as tap, LiveConsole(Console(highlight=False)) as console:
        for entry in tap.history():
            print_json(entry) if as_json else console.show(entry)
    if tap.unstored:
        click.echo(f"{tap.unstored} more entries are in memory only: journal's disk is full", err=True)
        raise SystemExit(EX_TEMPFAIL)
