"""The entries of a file as plain text, JSON lines, SRT or VTT."""

from collections.abc import Sequence

import pysubs2

from voicetap.messages import Entry, Failed, Final, Gap
from voicetap.vocabulary import Reason

from .console import json_line

FORMATS = ("txt", "json", "srt", "vtt")


def export(entries: Sequence[Entry], format_: str) -> str:
    """All entries in one of FORMATS. Text and subtitles show Failed and Gap entries as `[not transcribed: …]`;
    a pause of the file itself is not shown."""
    if format_ == "json":
        return "".join(f"{json_line(entry)}\n" for entry in entries)
    if format_ == "txt":
        return "".join(f"{_text(entry)}\n" for entry in entries if _text(entry))
    subtitles = pysubs2.SSAFile()
    subtitles.events = [_subtitle(entry) for entry in entries if _text(entry)]
    return subtitles.to_string(format_)


def _text(entry: Entry) -> str:
    if isinstance(entry, Final):
        return entry.text
    if entry.reason == Reason.PAUSED:
        return ""
    what = "not transcribed" if isinstance(entry, Failed) else "no sound"
    return f"[{what}: {entry.reason}]"


def _subtitle(entry: Final | Failed | Gap) -> pysubs2.SSAEvent:
    """Braces become parentheses: pysubs2 would read them as style overrides."""
    start_ms, end_ms = round(entry.start_s * 1000), round(entry.end_s * 1000)
    return pysubs2.SSAEvent(start=start_ms, end=end_ms, text=_text(entry).replace("{", "(").replace("}", ")"))
