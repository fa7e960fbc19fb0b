"""`voicetap up`: starts everything and shows what is said, until Ctrl-C."""

import importlib.resources
import os
import stat
from pathlib import Path

import click
from rich.console import Console

from voicetap import config, source_spec
from voicetap.messages import Failed, Final, Gap
from voicetap.settings import Settings

from .box import Bundle
from .devices import list_devices
from .interrupts import stopping
from .output import print_json
from .screen import Screen
from .untranscribed import Untranscribed

_SOURCES = (
    "[NAME=]mic, mic:DEVICE (see `voicetap devices`), file:PATH, raw:PATH, or stdin, "
    "which like raw is s16le, 16 kHz, mono. May be repeated."
)


@click.command("up")
@click.option("--source", "specs", multiple=True, metavar="SOURCE", help=_SOURCES)
@click.option("--pace", type=click.Choice(["realtime", "max"]), help="How fast files are read.")
@click.option("--engine", help="auto, faster-whisper, pocketsphinx …")
@click.option("--model", help="A size such as tiny.en, a directory or a hub id.")
@click.option("--once", is_flag=True, help="End when the sources are at their end and all of it is published.")
@click.option("--json", "as_json", is_flag=True, help="Print entries as JSON, one a line.")
@click.option("--detach", is_flag=True, help="Return when everything is ready; `voicetap down` ends it.")
def up_command(
    specs: tuple[str, ...], pace: str, engine: str, model: str, once: bool, as_json: bool, detach: bool
) -> None:
    """Listen, and show live transcripts. Ctrl-C ends it all.

    Everything else is a setting: see `voicetap settings`.
    """
    settings = config.load()
    wanted = [_readable(spec) for spec in specs] or list(settings.sources)
    console = Console(stderr=as_json or None, highlight=False)
    with Screen(console) as screen:
        if not specs and _no_microphone(settings):
            screen.say("no microphone found (`voicetap doctor` says more): this is the bundled sample")
            wanted, once = [f"sample=file:{_sample()}"], True
        box = Bundle(wanted, engine=engine, model=model, pace=pace, runtime_dir=settings.runtime_dir, detached=detach)
        with stopping(box):
            try:
                box.launch()
                if ready := _wait(box, screen):
                    _introduce(box, screen)
                if not (ready and detach):
                    _show(box, screen, once, as_json)
            except BaseException:
                box.stop()
                raise
            box.release() if detach and box.is_running() else box.stop()


def _readable(spec: str) -> str:
    """`stdin` as a path that capture can open: our own standard input."""
    name, equals, kind = spec.rpartition("=")
    if kind != "stdin":
        return spec
    if os.isatty(0) or stat.S_ISCHR(os.fstat(0).st_mode):
        raise click.UsageError("--source stdin takes raw s16le 16 kHz mono sound from a pipe, not from a terminal")
    return f"{name or 'stdin'}=raw:/proc/{os.getpid()}/fd/0"


def _no_microphone(settings: Settings) -> bool:
    only = source_spec.parse_all(settings)
    return len(only) == 1 and only[0] == source_spec.SourceSpec("mic", "mic", "") and not list_devices()


def _sample() -> Path:
    return Path(str(importlib.resources.files(__package__) / "data/sample.flac"))


def _wait(box: Bundle, screen: Screen) -> bool:
    """Until everything is ready; False when told to stop before that."""
    while not box.is_ready():
        if box.stop_asked:
            return False
        screen.busy(f"starting {', '.join(box.waiting_for())}")
    screen.idle()
    return True


def _introduce(box: Bundle, screen: Screen) -> None:
    """One line for each source, one for the engine."""
    lost = box.lost_sources()
    for source in source_spec.parse_all(box.settings):
        where = source.argument or "the default microphone"
        trouble = f"waiting for {where}: {lost.get(source.name)}"
        screen.say(f"{source.name}: {trouble if source.name in lost else f'listening to {where}'}")
    screen.say(f"engine: {box.engine()}")


def _show(box: Bundle, screen: Screen, once: bool, as_json: bool) -> None:
    untranscribed = Untranscribed()
    for heard in box.listen(once=once, interims=not as_json, events=not as_json):
        untranscribed.hear(heard)
        if as_json and isinstance(heard, Final | Failed | Gap):
            print_json(heard)
        elif heard is not None and not as_json:
            screen.show(heard)
    if untranscribed.count:
        screen.say(str(untranscribed))
