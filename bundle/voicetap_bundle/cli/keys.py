"""`voicetap keys`: creates the CURVE keys for links that leave the machine."""

from pathlib import Path

import click

from voicetap.curve import create_server_key

from ..bundle import BundleError


@click.command("keys")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Make the keys for links that leave the machine. tcp addresses other than loopback require them (CURVE)."""
    try:
        create_server_key(directory)
        click.echo(f"set curve_dir = {str(directory)!r} on this machine")
    except FileExistsError as error:
        raise BundleError(str(error), 1) from None
