"""`voicetap devices`: lists the microphones, as capture finds them."""

import json

import click
from rich.console import Console
from rich.table import Table

from ..console import shown
from ..service_query import query


def list_devices() -> list[dict]:
    """Runs capture's `--devices`; the bundle imports no sound library. An empty list where there is no sound system.

    Raises BundleError when that ends badly.
    """
    devices: list[dict] = query("voicetap_capture", "--devices", "the devices cannot be listed")
    return devices


@click.command("devices")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(as_json: bool) -> None:
    """List the microphones that `--source mic:NAME` can choose."""
    devices = list_devices()
    if as_json:
        click.echo(json.dumps(devices, indent=2))
    elif devices:
        Console().print(_table(devices))
    else:
        click.echo("no microphone found; see `voicetap doctor`")


def _table(devices: list[dict]) -> Table:
    table = Table(*devices[0], box=None, header_style="bold")
    for device in devices:
        table.add_row(*(shown(value) for value in device.values()))
    return table
