"""`voicetap keys`: the CURVE keys of a bundle whose links leave the machine, and those of its clients."""

from pathlib import Path

import click

from voicetap import config, curve
from voicetap.errors import SettingsError

from ..bundle import BundleError

DIRECTORY = click.option("--dir", "directory", type=click.Path(path_type=Path), help="Default: the setting curve_dir.")


@click.group("keys")
def command() -> None:
    """Keys for links that leave the machine: tcp addresses other than loopback require them (CURVE).

    `init` once on the machine of the bundle; then, per client, `allow NAME`, and copy the directory it names.
    """


@command.command("init")
@DIRECTORY
def init(directory: Path | None) -> None:
    """Create the key of this bundle."""
    directory = _directory(directory)
    _act(lambda: curve.create_server_key(directory))
    click.echo(f'set curve_dir = "{directory}" on this machine; `voicetap keys allow NAME` lets a client in')


@command.command("allow")
@click.argument("name")
@click.option("--to", type=click.Path(path_type=Path), help="Where the client's keys are written. Default: ./NAME.")
@DIRECTORY
def allow(name: str, to: Path | None, directory: Path | None) -> None:
    """Create a key for the client NAME and allow it to tap."""
    target = to or Path(name)
    _act(lambda: curve.allow(_directory(directory), name, target))
    click.echo(f"copy {target}/ to the client's machine, and set curve_dir to it there; then remove it here")


@command.command("revoke")
@click.argument("name")
@DIRECTORY
def revoke(name: str, directory: Path | None) -> None:
    """Refuse the client NAME from its next connection on."""
    if not _act(lambda: curve.revoke(_directory(directory), name)):
        raise BundleError(f"there is no client {name} (`voicetap keys list`)", 1)


@command.command("list")
@DIRECTORY
def list_clients(directory: Path | None) -> None:
    """Print the clients that are allowed."""
    for name in curve.allowed_clients(_directory(directory)):
        click.echo(name)


def _directory(given: Path | None) -> Path:
    if found := given or config.load_for_client().curve_dir:
        return Path(found).absolute()
    raise click.UsageError("no directory: set curve_dir, or give --dir")


def _act(action):
    try:
        return action()
    except FileExistsError as error:
        raise BundleError(str(error), 1) from None
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from None
