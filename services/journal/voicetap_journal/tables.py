"""The tables of journal's file, what their rows must look like, and which SQLite errors mean that it is damaged."""

import json
import sqlite3
from collections.abc import Sequence

from voicetap.codec import decode, encode
from voicetap.messages import Entry, Failed, Final, Gap

SCHEMA_VERSION = 1
MAX_VERSION = 99  # a larger one is damage, not a newer voicetap
MAX_NUMBER = 2**53  # of entries and utterances; beyond it is damage
_SCHEMA = """
CREATE TABLE entries (utterance_id TEXT PRIMARY KEY, journal_seq INTEGER UNIQUE, stored_s INTEGER, body BLOB);
CREATE TABLE streams (source TEXT, stream TEXT, next_number INTEGER, missing TEXT, stored_s INTEGER,
                      PRIMARY KEY (source, stream));
CREATE TABLE journal (journal_id TEXT, next_seq INTEGER);
"""
COLUMNS = {  # as their names are used in queries
    "entries": "utterance_id, journal_seq, stored_s, body",
    "streams": "source, stream, next_number, missing, stored_s",
    "journal": "journal_id, next_seq",
}
PUT_STREAM = "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)"
# ERROR: a table or column is missing. CONSTRAINT: a stored number is wrong.
_DAMAGED = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_INTERNAL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
)
# What reading a damaged file raises: text that is not UTF-8, numbers that are none, bodies that cannot be decoded.
READ_ERRORS = (sqlite3.Error, ValueError, TypeError, OverflowError)

StreamRow = tuple[str, str, int, list[range]]  # source, stream, next_number, missing


def is_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the disk."""
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGED


def configure(database: sqlite3.Connection, is_durable: bool) -> None:
    """With `is_durable` every commit waits for the disk."""
    database.execute("PRAGMA secure_delete = ON")  # overwrites what is deleted
    database.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")


def create_schema(database: sqlite3.Connection, journal_id: str) -> None:
    """In one transaction, which the caller has begun."""
    for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
        database.execute(statement)
    database.execute("INSERT INTO journal VALUES (?, 1)", (journal_id,))
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def entry_row(entry: Entry, stored_s: int) -> tuple[str, int | None, int, bytes]:
    return str(entry.utterance_id), entry.journal_seq or None, stored_s, encode(entry)


def stream_row(key: tuple[str, str], next_number: int, missing: Sequence[range], stored_s: int) -> tuple[object, ...]:
    return *key, next_number, json.dumps([(numbers.start, numbers.stop) for numbers in missing]), stored_s


def entry_of(body: object) -> Entry:
    """The entry in a row. Raises ValueError."""
    entry = decode(body) if isinstance(body, bytes) else None
    if not isinstance(entry, Final | Failed | Gap) or not 0 <= entry.journal_seq < MAX_NUMBER:
        raise ValueError("a row contains no entry")
    return entry


def stream_of(source: object, stream: object, next_number: object, missing: object) -> StreamRow:
    """The state of a stream in a row. Raises ValueError or TypeError."""
    if not (isinstance(source, str) and isinstance(stream, str) and isinstance(missing, str)):
        raise ValueError("a row contains no stream")
    return source, stream, _number(next_number), [range(_number(a), _number(b)) for a, b in json.loads(missing)]


def journal_of(row: Sequence[object] | None) -> tuple[str, int]:
    """(journal_id, next_seq). Raises ValueError."""
    journal_id, next_seq = row or ("", 0)
    if not isinstance(journal_id, str) or not journal_id.isalnum():
        raise ValueError("the journal's id is missing")
    return journal_id, _number(next_seq)


def _number(value: object) -> int:
    if type(value) is not int or not 1 <= value < MAX_NUMBER:
        raise ValueError(f"{str(value)[:40]} is not a number of an entry or utterance")
    return value
