"""`voicetap up`: starts a bundle and shows live transcripts, until Ctrl-C."""

import dataclasses
import importlib.resources
import os
import stat
from pathlib import Path

import click
from rich.console import Console

from voicetap import config, source_spec
from voicetap.messages import Failed, Final, Gap
from voicetap.settings import Settings

from ..bundle import Bundle, stop_on_signals
from ..console import LiveConsole, WaitingNotice, print_json
from .devices import list_devices
from .down import UntranscribedCounter

_SOURCES = (
    "[NAME=]mic, mic:DEVICE (see `voicetap devices`), file:PATH, raw:PATH, or stdin, "
    "which like raw has no header. May be repeated."
)


@click.command("up")
@click.option("--source", "specs", multiple=True, metavar="SOURCE", help=_SOURCES)
@click.option("--rate", type=int, help="Sample rate of raw and stdin.  [default: 16000]")
@click.option("--channels", type=int, help="Channels of raw and stdin.  [default: 1]")
@click.option("--encoding", help="Samples of raw and stdin: s16le, s16be, u8, s32le, f32le …  [default: s16le]")
@click.option("--pace", type=click.Choice(["realtime", "max"]), help="How fast files are read.")
@click.option("--engine", help="auto, faster-whisper, pocketsphinx …")
@click.option("--model", help="A size such as tiny.en, a directory or a hub id.")
@click.option("--once", is_flag=True, help="End when the sources are at their end and all of it is published.")
@click.option("--json", "as_json", is_flag=True, help="Print entries as JSON, one a line.")
@click.option("--detach", is_flag=True, help="Return when everything is ready; `voicetap down` ends it.")
def command(
    specs: tuple[str, ...],
    rate: int | None,
    channels: int | None,
    encoding: str | None,
    pace: str,
    engine: str,
    model: str,
    once: bool,
    as_json: bool,
    detach: bool,
) -> None:
    """Listen, and show live transcripts. Ctrl-C ends it all.

    Everything else is a setting: see `voicetap settings`.
    """
    settings = config.load()
    if detach and any(spec.rpartition("=")[2] == "stdin" for spec in specs):
        raise click.UsageError(
            "--detach with --source stdin: the pipe ends with this command, so nothing would be read"
        )
    wanted = [_resolve_stdin(spec) for spec in specs] or list(settings.sources)
    if is_sample := not specs and _has_no_microphone(settings):
        wanted, once = [f"sample=file:{_sample()}"], True
    with LiveConsole(Console(stderr=as_json, highlight=False), settings_of(wanted, settings)) as console:
        if is_sample:
            console.print("no microphone found (see `voicetap doctor`): this is the bundled sample")
        raw = {"capture.raw_rate_hz": rate, "capture.raw_channels": channels, "capture.raw_encoding": encoding}
        box = Bundle(
            wanted,
            engine=engine,
            model=model,
            pace=pace,
            runtime_dir=settings.runtime_dir,
            settings=raw,
            detached=detach,
        )
        with stop_on_signals(box):
            try:
                box.launch()
                if ready := _wait_until_ready(box, console):
                    _print_introduction(box, console)
                if not (ready and detach):
                    _print_messages(box, console, once, as_json)
            except BaseException:
                box.stop()
                raise
            box.release() if detach and box.is_running() else box.stop()


def settings_of(wanted: list[str], settings: Settings) -> Settings:
    """The settings with these sources."""
    return dataclasses.replace(settings, sources=tuple(wanted))


def _resolve_stdin(spec: str) -> str:
    """Replaces `stdin` by the path of this process's standard input, which capture can open."""
    name, equals, kind = spec.rpartition("=")
    if kind != "stdin":
        return spec
    try:
        is_a_device = os.isatty(0) or stat.S_ISCHR(os.fstat(0).st_mode)
    except OSError:
        raise click.UsageError("--source stdin: standard input is closed") from None
    if is_a_device:
        raise click.UsageError("--source stdin takes raw sound (s16le 16 kHz mono) from a pipe, not from a terminal")
    return f"{name or 'stdin'}=raw:/proc/{os.getpid()}/fd/0"


def _has_no_microphone(settings: Settings) -> bool:
    """Whether the default microphone is the only source, and there is no device."""
    only = source_spec.parse_all(settings)
    return len(only) == 1 and only[0] == source_spec.SourceSpec("mic", "mic", "") and not list_devices()


def _sample() -> Path:
    return Path(str(importlib.resources.files("voicetap_bundle") / "data/sample.flac"))


def _wait_until_ready(box: Bundle, console: LiveConsole) -> bool:
    """False when a signal asked for a stop before everything was ready."""
    waiting = WaitingNotice(console)
    while not box.is_ready():
        if box.stop_asked:
            return False
        waiting.show(box.waiting_for())
    console.clear_activity()
    return True


def _print_introduction(box: Bundle, console: LiveConsole) -> None:
    """One line for each source, one for the engine."""
    lost = box.lost_sources()
    for source in source_spec.parse_all(box.settings):
        where = source.argument or "the default microphone"
        trouble = f"waiting for {where}: {lost.get(source.name)}"
        console.print(f"{source.name}: {trouble if source.name in lost else f'listening to {where}'}")
    console.print(f"engine: {box.engine()}")


def _print_messages(box: Bundle, console: LiveConsole, once: bool, as_json: bool) -> None:
    untranscribed = UntranscribedCounter()
    for message in box.messages(once=once, interims=not as_json, events=not as_json):
        untranscribed.on_message(message)
        if as_json and isinstance(message, Final | Failed | Gap):
            print_json(message)
        elif message is not None and not as_json:
            console.show(message)
        _print_problems(box, console)
    _print_problems(box, console)
    if untranscribed.count:
        console.print(str(untranscribed))


def _print_problems(box: Bundle, console: LiveConsole) -> None:
    for problem in box.problems():
        console.print(problem)
