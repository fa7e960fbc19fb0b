"""`voicetap doctor`: runs the checks of doctor_checks and prints every finding with its remedy."""

import dataclasses
import json
import sys

import click
from rich.console import Console
from rich.text import Text

from voicetap import config
from voicetap.errors import SettingsError

from .. import doctor_checks
from ..doctor_checks import Finding
from .devices import list_devices

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "bold red")}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of findings.")
def command(as_json: bool) -> None:
    """Check settings, devices, permissions, models and directories. Exit code 1 when there is a problem."""
    findings = _findings()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        console = Console(highlight=False)
        for finding in findings:
            console.print(_line(finding), soft_wrap=True)
    sys.exit(any(finding.state == "problem" for finding in findings))


def _findings() -> list[Finding]:
    try:
        settings = config.load()
        found = f"from {config.config_path() or 'defaults'} and VOICETAP_* variables"
        return [Finding("settings", "ok", found), *doctor_checks.all_checks(settings, list_devices())]
    except SettingsError as error:
        return [Finding("settings", "problem", str(error), "`voicetap settings` lists them all")]


def _line(finding: Finding) -> Text:
    mark, style = _MARKS[finding.state]
    remedy = f"\n  → {finding.remedy}" if finding.remedy else ""
    return Text.assemble((mark, style), f" {finding.subject}: {finding.text}", (remedy, "bold"))
