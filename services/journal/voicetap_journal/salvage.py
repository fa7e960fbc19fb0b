"""Copies what can be read from a damaged file of journal into a new one: entries, streams, and the journal's id.

A table is read in both directions, and over rows that cannot be read. Entries keep their `journal_seq`; with the
journal's id, taps continue where they were. The state of a stream whose row is lost follows from its entries.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from voicetap.messages import Entry

from .tables import (
    PUT_STREAM,
    READ_ERRORS,
    StreamRow,
    configure,
    create_schema,
    entry_of,
    entry_row,
    journal_of,
    stream_of,
    stream_row,
)

MAX_SKIPPED = 500  # unreadable rows in a row, before the table is read from its other end; a page has fewer


def salvage(damaged: Path, target: Path, new_id: str, is_durable: bool) -> int:
    """Writes a new file and returns its number of entries. `new_id`: for a journal whose own id cannot be read.

    Raises OSError or sqlite3.Error when the target cannot be written.
    """
    for leftover in target.parent.glob(f"{target.name}*"):
        leftover.unlink()
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(_connect(damaged)) as old, closing(sqlite3.connect(target, isolation_level=None)) as new:
        configure(new, is_durable)
        new.execute("PRAGMA journal_mode = WAL")
        new.execute("BEGIN IMMEDIATE")
        journal_id, next_seq = _journal(old) or (new_id, 1)
        create_schema(new, journal_id)
        numbers: dict[tuple[str, str], set[int]] = {}  # released, by stream
        count = 0
        for entry, stored_s in _entries(old):
            is_added = new.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", entry_row(entry, stored_s))
            count += is_added.rowcount
            next_seq = max(next_seq, entry.journal_seq + 1)
            if entry.journal_seq:
                numbers.setdefault(entry.utterance_id[:2], set()).add(entry.utterance_id.number)
        for order, (source, stream, next_number, missing) in enumerate(_streams(old, numbers)):
            new.execute(PUT_STREAM, stream_row((source, stream), next_number, missing, order))
        new.execute("UPDATE journal SET next_seq = ?", (next_seq,))
        new.execute("COMMIT")
    return count


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    with contextlib.suppress(*READ_ERRORS):
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
    return database


def _journal(database: sqlite3.Connection) -> tuple[str, int] | None:
    try:
        return journal_of(database.execute("SELECT journal_id, next_seq FROM journal").fetchone())
    except READ_ERRORS:
        return None


def _entries(database: sqlite3.Connection) -> Iterator[tuple[Entry, int]]:
    """(entry, stored_s) of each readable row; some twice."""
    now_s = time.time_ns() // 1_000_000_000
    for row in _rows(database, "entries"):
        with contextlib.suppress(*READ_ERRORS):
            _, _, stored_s, body = row
            yield entry_of(body), stored_s if type(stored_s) is int else now_s


def _streams(database: sqlite3.Connection, numbers: dict[tuple[str, str], set[int]]) -> list[StreamRow]:
    """The readable rows, the latest last; then the streams that only `numbers`, of released entries, show."""
    readable: dict[tuple[str, str], tuple[int, StreamRow]] = {}
    for row in _rows(database, "streams"):
        with contextlib.suppress(*READ_ERRORS):
            *columns, stored_s = row
            source, stream, next_number, missing = stream_of(*columns)
            next_number = max([next_number, *(number + 1 for number in numbers.get((source, stream), ()))])
            order = stored_s if type(stored_s) is int else 0
            readable[source, stream] = order, (source, stream, next_number, missing)
    rows = [row for _, row in sorted(readable.values(), key=lambda item: item[0])]
    return rows + [_stream_from(*key, found) for key, found in numbers.items() if key not in readable]


def _stream_from(source: str, stream: str, released: set[int]) -> StreamRow:
    """Numbers between entries count as missing: their senders may still have them."""
    ordered = sorted(released)
    pairs = zip(ordered, ordered[1:], strict=False)
    return source, stream, ordered[-1] + 1, [range(a + 1, b) for a, b in pairs if b - a > 1]


def _rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The readable rows of a table, from both ends, whatever its columns are called; some twice."""
    for order, limit, step in (("ASC", "rowid > ?", 1), ("DESC", "rowid < ?", -1)):
        at, skipped = (0 if step > 0 else 2**62), 0
        while skipped < MAX_SKIPPED:
            query = f"SELECT rowid, * FROM {table} WHERE {limit} ORDER BY rowid {order}"
            try:
                for rowid, *row in database.execute(query, (at,)):
                    at, skipped = rowid, 0
                    yield tuple(row)
                break
            except READ_ERRORS:
                at, skipped = at + step, skipped + 1
