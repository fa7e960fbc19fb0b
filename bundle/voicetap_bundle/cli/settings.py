"""`voicetap settings`: lists every setting with its value, default and meaning."""

import json

import click
from rich.console import Console
from rich.table import Table

from voicetap import config


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(as_json: bool) -> None:
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
