"""`voicetap keys`: creates the CURVE keys for links that leave the machine."""

from pathlib import Path

import click

from voicetap.curve import make_keys

from ..bundle import BundleError


@click.command("keys")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Make the keys for links that leave the machine. tcp addresses other than loopback require them (CURVE)."""
    try:
        click.echo(f"{make_keys(directory)}: set curve_dir = {str(directory)!r} wherever it may be read")
    except FileExistsError as error:
        raise BundleError(str(error), 1) from None
