"""Output of the `voicetap` command: transcripts as lines with a live status below, and messages as JSON lines."""

import json
import time

import click
from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from voicetap.codec import as_wire
from voicetap.messages import Failed, Final, Gap, Interim, SpeechStarted, SpeechStopped, Status
from voicetap.sanitize import sanitize
from voicetap.settings import Settings
from voicetap.source_spec import parse_all
from voicetap.tap import TapMessage
from voicetap.vocabulary import SourceStatus

FIRST_NOTICE_S, NOTICE_PERIOD_S = 3.0, 10.0  # most starts are over before the first
_TROUBLE = ("lost", "degraded", "failed", "error")
_HIDDEN = (SourceStatus.DRAINED,)  # of use to programs only
_PHRASES = {SourceStatus.LIVE: "is live again", SourceStatus.ENDED: "has ended"}


def shown(text: object) -> Text:
    """Text of others (devices, models, logs) for a terminal: without control characters, and never read as markup."""
    return Text(sanitize(str(text)))


def json_line(message: object) -> str:
    """The message as JSON, with the fields of the wire; numbers are rounded to what they mean, milliseconds."""
    return json.dumps(_rounded(as_wire(message)), ensure_ascii=False)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return {name: _rounded(item) for name, item in value.items()} if isinstance(value, dict) else value


def print_json(message: object) -> None:
    """Prints one message as one line and flushes, for a reader at the other end of a pipe."""
    click.echo(json_line(message))


def line(message: TapMessage, in_file: bool = False) -> Text | None:
    """An entry or a status as one line; None for a message that only changes the live status.

    `in_file`: show the position in the file, not the time of day at which it was read.
    """
    if isinstance(message, Final):
        text = message.text or f"({message.reason or 'nothing said'})"
        return _with_time(message, text, "" if message.text else "dim", in_file)
    if isinstance(message, Failed):
        return _with_time(
            message, f"✗ not transcribed: {_with_detail(message.reason, message.detail)}", "bold red", in_file
        )
    if isinstance(message, Gap):
        missing_s = message.end_s - message.start_s
        return _with_time(message, f"✗ {missing_s:.1f} s of sound missing: {message.reason}", "yellow", in_file)
    if isinstance(message, Status) and message.state not in _HIDDEN:
        style = "yellow" if any(word in message.state for word in _TROUBLE) else "dim"
        phrase = _PHRASES.get(message.state, message.state)
        return _with_time(message, f"· {_with_detail(phrase, message.detail)}", style)
    return None


class LiveConsole:
    """Prints entries as lines. On a terminal a spinner below them shows the current activity, such as partial text."""

    def __init__(self, console: Console, settings: Settings | None = None):
        """`settings`: by which it knows the sources that are files."""
        self._console = console
        self._files = {spec.name for spec in parse_all(settings) if spec.kind == "file"} if settings else set()
        self._ended: dict[str, Status] = {}  # shown once the last words are
        self.is_live = console.is_terminal
        self._spinner = Spinner("", console=console, spinner="dots")

    def __enter__(self) -> "LiveConsole":
        return self

    def __exit__(self, *exc: object) -> None:
        self._spinner.stop()

    def show(self, message: TapMessage) -> None:
        if isinstance(message, Status) and message.state == SourceStatus.ENDED:
            self._ended[message.source] = message
            return
        if isinstance(message, Status) and message.state == SourceStatus.DRAINED:
            message = self._ended.pop(message.source, message)
        if (text := line(message, message.source in self._files)) is not None:
            if not isinstance(message, Status):
                self.clear_activity()
            self._console.print(text, soft_wrap=True)
        elif isinstance(message, SpeechStarted):
            self.set_activity(f"{message.source} …")
        elif isinstance(message, Interim):
            self.set_activity(f"{message.source} {message.text}")
        elif isinstance(message, SpeechStopped):
            self.set_activity(f"{message.source} transcribing …")

    def print(self, text: str) -> None:
        """Prints one line that is not a transcript."""
        self._console.print(Text(sanitize(text), style="dim"), soft_wrap=True)

    def set_activity(self, text: str) -> None:
        """Shows `text` beside the spinner, on a terminal only."""
        if self.is_live:
            self._spinner.update(Text(sanitize(text), style="dim", overflow="ellipsis", no_wrap=True))
            self._spinner.start()

    def clear_activity(self) -> None:
        self._spinner.stop()


class WaitingNotice:
    """Which programs are waited for, and why: beside the spinner, or where there is none as lines, now and then."""

    def __init__(self, console: LiveConsole):
        self._console = console
        self._next_s = time.monotonic() + FIRST_NOTICE_S

    def show(self, waiting_for: list[str]) -> None:
        text = f"starting {', '.join(waiting_for)}"
        if self._console.is_live:
            self._console.set_activity(text)
        elif waiting_for and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + NOTICE_PERIOD_S
            self._console.print(text)


def _with_time(message: Final | Failed | Gap | Status, text: str, style: str, in_file: bool = False) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(message.wall_ns / 1e9))
    if not isinstance(message, Status) and (in_file or not message.wall_ns):
        clock = position_text(message.start_s)
    return Text.assemble((f"{clock} ", "dim"), (f"{message.source} ", "cyan"), (sanitize(text), style))


def position_text(position_s: float) -> str:
    """A position in a file, as 0:04.3."""
    minutes, tenths = divmod(round(position_s * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def _with_detail(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text
