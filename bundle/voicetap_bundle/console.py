"""Output of the `voicetap` command: transcripts as lines with a live status below, and messages as JSON lines."""

import json
import time

import click
from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from voicetap.codec import as_wire
from voicetap.messages import Failed, Final, Gap, Interim, SourceStatus, SpeechStarted, SpeechStopped, Status
from voicetap.tap import TapMessage

_TROUBLE = ("lost", "degraded", "failed", "error")
_HIDDEN = (SourceStatus.DRAINED,)  # of use to programs only
_PHRASES = {SourceStatus.LIVE: "is live again", SourceStatus.ENDED: "has ended"}


def json_line(message: object) -> str:
    """The message as JSON, with the fields of the wire."""
    return json.dumps(as_wire(message), ensure_ascii=False)


def print_json(message: object) -> None:
    """Prints one message as one line and flushes, for a reader at the other end of a pipe."""
    click.echo(json_line(message))


def line(message: TapMessage) -> Text | None:
    """An entry or a status as one line; None for a message that only changes the live status."""
    if isinstance(message, Final):
        text = message.text or f"({message.reason or 'nothing said'})"
        return _with_time(message, text, "" if message.text else "dim")
    if isinstance(message, Failed):
        return _with_time(message, f"✗ not transcribed: {_with_detail(message.reason, message.detail)}", "bold red")
    if isinstance(message, Gap):
        missing_s = message.end_s - message.start_s
        return _with_time(message, f"✗ {missing_s:.1f} s of sound missing: {message.reason}", "yellow")
    if isinstance(message, Status) and message.state not in _HIDDEN:
        style = "yellow" if any(word in message.state for word in _TROUBLE) else "dim"
        phrase = _PHRASES.get(message.state, message.state)
        return _with_time(message, f"· {_with_detail(phrase, message.detail)}", style)
    return None


class LiveConsole:
    """Prints entries as lines. On a terminal a spinner below them shows the current activity, such as partial text."""

    def __init__(self, console: Console):
        self._console = console
        self._live = console.is_terminal
        self._spinner = Spinner("", console=console, spinner="dots")

    def __enter__(self) -> "LiveConsole":
        return self

    def __exit__(self, *exc: object) -> None:
        self._spinner.stop()

    def show(self, message: TapMessage) -> None:
        if (text := line(message)) is not None:
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
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def set_activity(self, text: str) -> None:
        """Shows `text` beside the spinner, on a terminal only."""
        if self._live:
            self._spinner.update(Text(text, style="dim", overflow="ellipsis", no_wrap=True))
            self._spinner.start()

    def clear_activity(self) -> None:
        self._spinner.stop()


def _with_time(message: Final | Failed | Gap | Status, text: str, style: str) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(message.wall_ns / 1e9))
    return Text.assemble((f"{clock} ", "dim"), (f"{message.source} ", "cyan"), (text, style))


def _with_detail(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text
