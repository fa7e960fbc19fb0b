"""README.md and docs/ as tests read them: code blocks with their markers, tables and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- (not run|prints|file): (.+?) -->\n$")


@dataclass(frozen=True)
class Block:
    """A fenced code block. The markers stand in HTML comments on the line before it."""

    document: Path
    line: int
    language: str
    text: str
    not_run: str = ""  # the reason
    prints: str = ""  # a text in its output, after which it is ended
    file: str = ""  # the name under which it is saved for the blocks below

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """The code blocks of a document, in order."""
    return list(_blocks(document))


def _blocks(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for fence in _FENCE.finditer(text):
        before, line = text[: fence.start()], text.count("\n", 0, fence.start()) + 1
        marker = _MARKER.search(before)
        markers = {marker[1].replace(" ", "_"): marker[2]} if marker else {}
        yield Block(document, line, fence[1], fence[2], **markers)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return _FENCE.sub("", document.read_text())


def table(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading, as {column: cell}."""
    section = re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    lines = [cells(line) for line in rows[0].splitlines()] if rows else []
    assert len(lines) > 2, f"no table below {heading}"
    return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


def cells(line: str) -> list[str]:
    """The cells of a table's row; an escaped bar separates nothing."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def anchors(document: Path) -> set[str]:
    """The names of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.replace(" ", "-") for text in plain}
