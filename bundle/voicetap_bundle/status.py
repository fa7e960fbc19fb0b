"""`voicetap status`: which programs run, and how they are."""

import json
import sys
import time

import click
from rich.console import Console
from rich.table import Table

from voicetap import config

from . import report
from .beats import Beats
from .programs import programs_of
from .supervisord import Supervisord

LISTEN_S = 1.3  # two heartbeats and a bit: one for the state, two for the CPU
EXIT_NOTHING_RUNS = 3


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help='Print {"services": [...], "sources": [...]}.')
def status_command(as_json: bool) -> None:
    """Show every program. Exit code 3 when nothing runs."""
    settings = config.load()
    with Beats(settings, programs_of(settings)) as beats:
        until_s = time.monotonic() + LISTEN_S
        while (left_s := until_s - time.monotonic()) > 0:
            beats.hear(left_s)
        found = report.status(beats, Supervisord(settings.runtime_dir).programs(), settings.runtime_dir)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["services"]:
        _print(found)
    else:
        click.echo(f"nothing runs in {settings.runtime_dir} (`voicetap up` starts it)")
    sys.exit(0 if report.runs(found) else EXIT_NOTHING_RUNS)


def _print(found: dict) -> None:
    console = Console(highlight=False)
    services = _table("service", "state", "pid", "beat", "memory", "cpu", "drops", "restarts")
    for each in found["services"]:
        beat = "-" if each["beat_age_s"] is None else f"{each['beat_age_s']:.1f} s ago"
        cost = (f"{each['rss_bytes'] / 1e6:.0f} MB", f"{each['cpu_percent']:.1f} %")
        counts = (str(each["drops"]), str(each["restarts"]))
        services.add_row(each["name"], each["state"], str(each["pid"] or "-"), beat, *cost, *counts, each["detail"])
    console.print(services)
    sources = _table("source", "state", "position", "waiting", "gaps", "failed", "early", "interims")
    for each in found["sources"]:
        numbers = (f"{each['position_s']:.1f} s", str(each["backlog"]), str(each["gaps"]), str(each["failed"]))
        early = f"{each['early_used']} of {each['early_jobs']}"
        sources.add_row(each["source"], each["state"], *numbers, early, each["interims"], each["detail"])
    console.print(sources)


def _table(*columns: str) -> Table:
    """Only the last column, for details, gives way on a narrow terminal."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    table.add_column("")
    return table
