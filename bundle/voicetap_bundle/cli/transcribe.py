"""`voicetap transcribe`: transcribes files with a bundle of its own, faster than real time."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from voicetap.messages import Entry

from ..bundle import Bundle, BundleError, stop_on_signals
from ..export import FORMATS, export

EXIT_INTERRUPTED = 130
_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command("transcribe")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; with several FILEs a directory.")
@click.option("--engine", help="auto, faster-whisper, pocketsphinx …")
@click.option("--model", help="A size such as tiny.en, a directory or a hub id.")
def command(files: tuple[Path, ...], format_: str, output: Path | None, engine: str, model: str) -> None:
    """Transcribe audio files. As text, JSON lines or subtitles, from any format that ffmpeg reads."""
    if len(files) > 1 and output and not output.is_dir():
        raise click.UsageError(f"with several files, --output is a directory, and {output} is none")
    if len(files) > 1 and not output and format_ in ("srt", "vtt"):
        raise click.UsageError(f"several files in {format_} need --output DIRECTORY")
    for file in files:
        box = Bundle(f"{_source_name(file)}=file:{file}", engine=engine, model=model, pace="max")
        entries = _transcribe(box)
        if not entries:
            raise BundleError(f"{file}: no speech found", 1)
        _write(export(entries, format_), _target(file, files, format_, output))


def _transcribe(box: Bundle) -> list[Entry]:
    entries = []
    with stop_on_signals(box), _progress_bar() as progress:
        task = progress.add_task("starting", total=None, position="")
        try:
            box.start()
            progress.update(task, description="transcribing")
            for message in box.messages(once=True):
                if message is not None:
                    entries.append(message)
                progress.update(task, position=f"{box.position_s():.0f} s processed, {len(entries)} passages")
            if not box.is_running():
                raise BundleError("interrupted", EXIT_INTERRUPTED)
        finally:
            box.stop()
    return entries


def _progress_bar() -> Progress:
    """On stderr, if that is a terminal: stdout is for the text."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[position]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _source_name(file: Path) -> str:
    """The file's name, reduced to the letters that a source's name may have."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in file.stem.lower())
    return plain.strip("-")[:32] or "file"


def _target(file: Path, files: tuple[Path, ...], format_: str, output: Path | None) -> Path | None:
    """None is stdout."""
    if output and len(files) > 1:
        return output / f"{file.stem}.{'txt' if format_ == 'text' else format_}"
    return output


def _write(text: str, target: Path | None) -> None:
    if target is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        target.write_text(text)
    except OSError as error:
        raise BundleError(f"{target}: {error.strerror}", 1) from None
