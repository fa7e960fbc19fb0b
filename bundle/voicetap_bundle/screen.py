"""What a person sees: entries as lines, and on a terminal the words while they are spoken."""

import time

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from voicetap.messages import Failed, Final, Gap, Interim, SpeechStarted, SpeechStopped, Status
from voicetap.tap import TapMessage

_TROUBLE = ("lost", "degraded", "failed", "error")
_TOO_MUCH = ("drained",)  # what only programs wait for
_IN_WORDS = {"live": "is heard again", "ended": "has ended"}


def line(heard: TapMessage) -> Text | None:
    """An entry or status as one line; None for what only a terminal shows while it lasts."""
    if isinstance(heard, Final):
        return _timed(heard, heard.text or f"({heard.reason or 'nothing said'})", "" if heard.text else "dim")
    if isinstance(heard, Failed):
        return _timed(heard, f"✗ not transcribed: {_because(heard.reason, heard.detail)}", "bold red")
    if isinstance(heard, Gap):
        return _timed(heard, f"✗ {heard.end_s - heard.start_s:.1f} s of sound missing: {heard.reason}", "yellow")
    if isinstance(heard, Status) and heard.state not in _TOO_MUCH:
        style = "yellow" if any(word in heard.state for word in _TROUBLE) else "dim"
        return _timed(heard, f"· {_because(_IN_WORDS.get(heard.state, heard.state), heard.detail)}", style)
    return None


class Screen:
    """Lines as they come; below them, on a terminal, who is speaking and what so far."""

    def __init__(self, console: Console):
        self._console = console
        self._live = console.is_terminal
        self._spinner = Spinner("", console=console, spinner="dots")

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exc: object) -> None:
        self._spinner.stop()

    def show(self, heard: TapMessage) -> None:
        if (text := line(heard)) is not None:
            if not isinstance(heard, Status):
                self.idle()
            self._console.print(text, soft_wrap=True)
        elif isinstance(heard, SpeechStarted):
            self.busy(f"{heard.source} …")
        elif isinstance(heard, Interim):
            self.busy(f"{heard.source} {heard.text}")
        elif isinstance(heard, SpeechStopped):
            self.busy(f"{heard.source} transcribing …")

    def say(self, text: str) -> None:
        """One line that is not a transcript."""
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def busy(self, text: str) -> None:
        """What goes on right now; only on a terminal."""
        if self._live:
            self._spinner.update(Text(text, style="dim", overflow="ellipsis", no_wrap=True))
            self._spinner.start()

    def idle(self) -> None:
        self._spinner.stop()


def _timed(heard: Final | Failed | Gap | Status, text: str, style: str) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(heard.wall_ns / 1e9))
    return Text.assemble((f"{clock} ", "dim"), (f"{heard.source} ", "cyan"), (text, style))


def _because(what: str, detail: str) -> str:
    return f"{what} ({detail})" if detail else what
