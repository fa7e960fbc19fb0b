"""`voicetap settings` and `voicetap keys`: what can be set, and the keys for links that leave the machine."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from voicetap import config
from voicetap.curve import create_server_key

from .box import BundleError


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def settings_command(as_json: bool) -> None:
    """List every setting. Its value now, its default, and what it means."""
    now = config.as_environment(config.load())
    rows = [
        {
            "name": f"{section}.{name}" if section else name,
            "variable": config.variable(section, name),
            "value": now.get(config.variable(section, name), default),
            "default": default,
            "meaning": meaning,
        }
        for section, name, default, meaning in config.describe()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    path = config.config_path()
    click.echo(
        f"from {path or 'no voicetap.toml'} and VOICETAP_* variables; [section] name is written section.name here"
    )
    table = Table("setting", "value", "default", "meaning", box=None)
    for row in rows:
        table.add_row(row["name"], row["value"], row["default"], row["meaning"])
    Console(highlight=False, markup=False).print(table)


@click.command("keys")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def keys_command(directory: Path) -> None:
    """Make the keys for links that leave the machine. tcp addresses other than loopback require them (CURVE)."""
    try:
        create_server_key(directory)
        click.echo(f"set curve_dir = {str(directory)!r} on this machine")
    except FileExistsError as error:
        raise BundleError(str(error), 1) from None
