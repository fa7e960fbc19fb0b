"""Entries as a document: text, JSON lines, SRT or VTT."""

from collections.abc import Sequence

import pysubs2

from voicetap.messages import Entry, Failed, Final, Gap

from .output import json_line

FORMATS = ("text", "json", "srt", "vtt")


def document(entries: Sequence[Entry], kind: str) -> str:
    """All of a file's entries. Text and subtitles say where words are missing."""
    if kind == "json":
        return "".join(f"{json_line(entry)}\n" for entry in entries)
    if kind == "text":
        return "".join(f"{_text(entry)}\n" for entry in entries if _text(entry))
    subtitles = pysubs2.SSAFile()
    subtitles.events = [_event(entry) for entry in entries if _text(entry)]
    return subtitles.to_string(kind)


def _text(entry: Entry) -> str:
    if isinstance(entry, Final):
        return entry.text
    what = "not transcribed" if isinstance(entry, Failed) else "no sound"
    return f"[{what}: {entry.reason}]"


def _event(entry: Final | Failed | Gap) -> pysubs2.SSAEvent:
    start_ms, end_ms = round(entry.start_s * 1000), round(entry.end_s * 1000)
    return pysubs2.SSAEvent(start=start_ms, end=end_ms, text=_text(entry).replace("{", "(").replace("}", ")"))
