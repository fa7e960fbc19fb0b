"""`voicetap status`: which programs run, their state and cost."""

import json
import sys
import time

import click
from rich.console import Console
from rich.table import Table

from voicetap import config
from voicetap_watchdog.layout import BundleLayout

from .. import status_report
from ..bundle import EXIT_NOT_RUNNING
from ..console import shown
from ..heartbeat_monitor import HeartbeatMonitor
from ..programs import ProgramControl

MEASURE_S = 1.3  # two heartbeats at least, 0.5 s apart: CPU use is the difference of two
SILENT_DBFS = -120.0  # and what is not measured
MENTIONED_CLIPPING = 0.001
WIDTH_IN_A_PIPE = 250  # no terminal wraps the lines


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help='Print {"services": [...], "sources": [...]}.')
def command(as_json: bool) -> None:
    """Show every program. Exit code 3 when nothing runs."""
    settings = config.load_for_client()
    with HeartbeatMonitor(settings, BundleLayout(settings).process_names()) as heartbeats:
        until_s = time.monotonic() + MEASURE_S
        while (left_s := until_s - time.monotonic()) > 0:
            heartbeats.poll(left_s)
        report = status_report.build(heartbeats, ProgramControl(settings), settings.runtime_dir)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    elif report["services"]:
        _print(report)
    else:
        click.echo(f"nothing runs in {settings.runtime_dir} (`voicetap up` starts it)")
    sys.exit(0 if status_report.is_anything_running(report) else EXIT_NOT_RUNNING)


def _print(report: dict) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)
    services = _table("service", "state", "pid", "beat", "memory", "cpu", "drops", "restarts")
    for each in report["services"]:
        age = "-" if each["beat_age_s"] is None else f"{each['beat_age_s']:.1f} s ago"
        cost = (f"{each['rss_bytes'] / 1e6:.0f} MB", f"{each['cpu_percent']:.1f} %")
        counts = (str(each["drops"]), str(each["restarts"]))
        services.add_row(
            each["name"], each["state"], str(each["pid"] or "-"), age, *cost, *counts, shown(each["detail"])
        )
    console.print(services)
    sources = _table("source", "state", "position", "waiting", "gaps", "failed", "early", "interims", "level")
    for each in report["sources"]:
        numbers = (f"{each['position_s']:.1f} s", str(each["backlog"]), str(each["gaps"]), str(each["failed"]))
        early = f"{each['early_used']} of {each['early_jobs']}"
        texts = (each["interims"], _level(each), shown(each["detail"]))
        sources.add_row(each["source"], each["state"], *numbers, early, *texts)
    console.print(sources)


def _level(source: dict) -> str:
    """Such as `-31 dBFS (noise -62)`."""
    if source["level_dbfs"] <= SILENT_DBFS:
        return "-"
    clipped = f", {source['clipping']:.1%} clipped" if source["clipping"] >= MENTIONED_CLIPPING else ""
    return f"{source['level_dbfs']:.0f} dBFS (noise {source['noise_dbfs']:.0f}{clipped})"


def _table(*columns: str) -> Table:
    """These columns and a last one for details, which alone is wrapped on a narrow terminal."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    table.add_column("")
    return table
