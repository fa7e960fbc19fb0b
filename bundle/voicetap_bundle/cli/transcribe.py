"""`voicetap transcribe`: transcribes files with a bundle of its own, faster than real time."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from voicetap.messages import Entry, Failed, Final, Gap
from voicetap.vocabulary import Reason

from ..bundle import Bundle, BundleError, stop_on_signals
from ..console import LiveConsole, WaitingNotice, position_text
from ..export import FORMATS, export

EXIT_INTERRUPTED = 130
AT_ONCE = 4  # files read by one bundle: a process each
_FILE = click.Path(path_type=Path)


@click.command("transcribe")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="txt", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; with several FILEs a directory.")
@click.option("--engine", help="auto, faster-whisper, pocketsphinx …")
@click.option("--model", help="A size such as tiny.en, a directory or a hub id.")
def command(files: tuple[Path, ...], format_: str, output: Path | None, engine: str, model: str) -> None:
    """Transcribe audio files. As text, JSON lines or subtitles, from any format that ffmpeg reads.

    One that cannot be transcribed does not end the others. Exit code 1 when there is one, or text is missing.
    """
    targets = _targets(files, format_, output)
    problems = []
    for number, batch in enumerate(files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)):
        for file, result in _transcribe_batch(batch, engine, model, first=number == 0):
            if isinstance(result, str):
                problems.append(f"{file}: {result}")
                continue
            for pause in _gaps(result, Reason.PAUSED):
                click.echo(f"voicetap: {file}: {pause}", err=True)
            _write(export(result, format_), targets[file], title=str(file) if len(files) > 1 else "")
            problems += [f"{file}: {problem}" for problem in _problems(result)]
    for problem in problems:
        click.echo(f"voicetap: {problem}", err=True)
    sys.exit(bool(problems))


def _targets(files: tuple[Path, ...], format_: str, output: Path | None) -> dict[Path, Path | None]:
    """Where the text of each file goes; None is stdout. Checked before any work is done."""
    if len(set(files)) < len(files):
        raise click.UsageError("a file is named twice")
    if not output:
        if len(files) > 1 and format_ in ("srt", "vtt"):
            raise click.UsageError(f"several files in {format_} need --output DIRECTORY")
        return dict.fromkeys(files)
    if len(files) == 1 and not output.is_dir():
        targets = {files[0]: output}
    elif output.is_dir():
        targets = dict(zip(files, _names_in(output, files, format_), strict=True))
    else:
        raise click.UsageError(f"with several files, --output is a directory, and {output} is none")
    for target in targets.values():
        try:
            target.open("a").close()
        except OSError as error:
            raise BundleError(f"{target}: {error.strerror}", 1) from None
    return dict(targets)


def _names_in(directory: Path, files: tuple[Path, ...], format_: str) -> Iterator[Path]:
    """`talk.srt` for talk.mp3; `talk.mp3.srt` where there is a talk.wav too, with a number where that is not enough."""
    stems, names, used = Counter(file.stem for file in files), Counter(file.name for file in files), Counter()
    for file in files:
        base = file.stem if stems[file.stem] == 1 else file.name
        used[file.name] += 1
        number = f"-{used[file.name]}" if names[file.name] > 1 else ""
        yield directory / f"{base}{number}.{format_}"


def _transcribe_batch(
    files: tuple[Path, ...], engine: str, model: str, first: bool
) -> Iterator[tuple[Path, list[Entry] | str]]:
    """Each file with its entries, or with the reason why there are none. A file that cannot be read costs a restart."""
    unread: dict[Path, str] = {file: reason for file in files if (reason := _unreadable(file))}
    entries: list[Entry] = []
    while readable := [file for file in files if file not in unread]:
        sources = [f"{_source_name(file, number)}=file:{file}" for number, file in enumerate(readable, 1)]
        try:
            entries = _transcribe(Bundle(sources, engine=engine, model=model, pace="max"), announce=first)
            break
        except BundleError as error:
            if not error.program.startswith("capture-"):
                raise
            broken = readable[int(error.program.removeprefix("capture-")) - 1]
            unread[broken] = str(error).removeprefix(f"{error.program}: ").removeprefix(f"{broken.absolute()}: ")
    for file in files:
        name = _source_name(file, readable.index(file) + 1) if file in readable else ""
        yield file, unread.get(file) or [entry for entry in entries if entry.source == name]


def _unreadable(file: Path) -> str:
    try:
        file.open("rb").close()
    except OSError as error:
        return error.strerror
    return ""


def _problems(entries: list[Entry]) -> Iterator[str]:
    if not any(isinstance(entry, Final) and entry.text for entry in entries):
        yield "no speech found"
    if failed := sum(isinstance(entry, Failed) for entry in entries):
        yield f"{failed} passage{'s' if failed > 1 else ''} could not be transcribed"
    yield from _gaps(entries, *(set(Reason) - {Reason.PAUSED}))


def _gaps(entries: list[Entry], *reasons: str) -> Iterator[str]:
    """One line for every gap of these reasons."""
    for entry in entries:
        if isinstance(entry, Gap) and entry.reason in reasons:
            yield f"no sound from {position_text(entry.start_s)} to {position_text(entry.end_s)}: {entry.reason}"


def _transcribe(box: Bundle, announce: bool) -> list[Entry]:
    entries = []
    with stop_on_signals(box), _progress_bar() as progress:
        task = progress.add_task("starting", total=None, position="")
        console = LiveConsole(Console(stderr=True, highlight=False, force_terminal=False))
        waiting = WaitingNotice(console)
        try:
            box.launch()
            while not box.is_ready() and not box.stop_asked:
                waiting.show(box.waiting_for())
                progress.update(task, position=", ".join(box.waiting_for()))
            if announce and not box.stop_asked:
                console.print(f"engine: {box.engine()}")
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


def _source_name(file: Path, number: int) -> str:
    """The file's name, reduced to the letters that a source's name may have; with its number, as two may be alike."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in file.stem.lower())
    return f"{plain.strip('-')[:28] or 'file'}-{number}" if number > 1 else plain.strip("-")[:32] or "file"


def _write(text: str, target: Path | None, title: str) -> None:
    if target is not None:
        target.write_text(text)
        return
    sys.stdout.write(f"# {title}\n{text}\n" if title and not text.startswith("{") else text)
    sys.stdout.flush()
