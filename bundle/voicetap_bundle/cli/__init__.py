"""The `voicetap` command: one module per subcommand, and one line instead of a traceback for user errors."""

import importlib
import signal
import subprocess
import sys

import click

from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, AddressInUse, SettingsError, Unavailable

# In the order of --help. Each is `command` in a module of its name, imported on demand, so that each starts quickly.
COMMANDS = (
    "up",
    "down",
    "tail",
    "history",
    "status",
    "audit",
    "devices",
    "doctor",
    "transcribe",
    "settings",
    "keys",
    "tap",
)


class _LazyGroup(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(f"{__name__}.{name}").command if name in COMMANDS else None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="voicetap-bundle", prog_name="voicetap")
def voicetap() -> None:
    """Turns a microphone into a stream of transcripts that any program can tap.

    \b
    Start with        voicetap up
    see what it says  voicetap tail        (in another terminal)
    and if it won't   voicetap doctor
    """


def main() -> None:
    """Runs the command. Exit codes: 2 usage, 3 nothing runs, 75 runs already, 78 configuration."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # commands that must clean up install a handler of their own
    from ..bundle import BundleError

    try:
        voicetap(prog_name="voicetap")
    except SettingsError as error:
        _exit(error, EX_CONFIG)
    except AddressInUse as error:
        _exit(error, EX_TEMPFAIL)
    except BundleError as error:
        _exit(error, error.exit_code)
    except Unavailable as error:
        _exit(error, EX_TEMPFAIL)
    except subprocess.TimeoutExpired as error:
        _exit(f"{error.cmd[-2]} {error.cmd[-1]} did not answer within {error.timeout:g} s", 1)
    except OSError as error:  # a full disk, no directory for temporary files, a permission
        place = f"{error.filename}: " if error.filename else ""
        _exit(f"{place}{error.strerror or error}", 1)


def _exit(error: object, exit_code: int) -> None:
    click.echo(f"voicetap: {error}", err=True)
    sys.exit(exit_code)
