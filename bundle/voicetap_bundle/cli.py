"""The `voicetap` command: its groups of subcommands, and one line instead of a traceback for what users cause."""

import importlib
import signal
import sys

import click

from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, AddressInUse, SettingsError

COMMANDS = {  # in the order of --help; imported on demand, so that each starts quickly
    "up": "up",
    "down": "down",
    "tail": "tail",
    "history": "tail",
    "status": "status",
    "audit": "audit",
    "devices": "devices",
    "doctor": "doctor",
    "transcribe": "transcribe",
    "settings": "configure",
    "keys": "configure",
    "tap": "inspect_link",
}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"voicetap_bundle.{COMMANDS[name]}"), f"{name}_command")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="voicetap-bundle", prog_name="voicetap")
def voicetap() -> None:
    """Turns a microphone into a stream of transcripts that any program can tap.

    \b
    Start with        voicetap up
    see what it says  voicetap tail        (in another terminal)
    and if it won't   voicetap doctor
    """


def main() -> None:
    """Exit codes: 2 usage, 3 nothing runs, 75 runs already, 78 configuration."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # commands with something to put in order ask for it
    from .box import BundleError

    try:
        voicetap(prog_name="voicetap")
    except SettingsError as error:
        _fail(error, EX_CONFIG)
    except AddressInUse as error:
        _fail(error, EX_TEMPFAIL)
    except BundleError as error:
        _fail(error, error.exit_code)
    except (TimeoutError, PermissionError) as error:
        _fail(error, 1)


def _fail(error: Exception, exit_code: int) -> None:
    click.echo(f"voicetap: {error}", err=True)
    sys.exit(exit_code)
