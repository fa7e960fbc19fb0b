"""journal's file: every entry once, in SQLite. Survives a kill at any instruction.

WAL mode, so that a commit is one append; exclusive locking, so that there is no shared memory file, which would be
left behind by a kill and cause SIGBUS on a full disk. The schema and the journal's id are written at the start, or on a
full disk with the first write that succeeds.
"""

import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from voicetap.codec import ProtocolError, UtteranceId, decode, encode
from voicetap.errors import ConfigError, Unavailable
from voicetap.messages import Entry

from .sequencer import StreamSequence

FILE = "journal.sqlite"
MAX_STREAMS = 1000  # restored; each new ring is one
DELETE_ROWS = 50  # at a time: deleting must not delay the loop
CLOCK_SET_S = 1_577_836_800  # 2020: earlier times come from a machine without a clock and give no age
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE entries (utterance_id TEXT PRIMARY KEY, journal_seq INTEGER UNIQUE, stored_s INTEGER, body BLOB);
CREATE TABLE streams (source TEXT, stream TEXT, next_number INTEGER, missing TEXT, stored_s INTEGER,
                      PRIMARY KEY (source, stream));
CREATE TABLE journal (journal_id TEXT, next_seq INTEGER);
"""
_PUT_ENTRY = """
INSERT INTO entries VALUES (?, ?, ?, ?)
ON CONFLICT (utterance_id) DO UPDATE SET journal_seq = excluded.journal_seq, body = excluded.body
"""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger("store")


class Unwritable(RuntimeError):
    """The file is not writable now, because of a full or read-only disk. Nothing was changed; a retry may succeed."""


class Store:
    """The database in `directory`. With `durable` every commit waits for the disk, to survive a power cut."""

    def __init__(self, directory: Path, durable: bool):
        self._path = directory / FILE
        self._durable = durable
        self.is_new = True  # no entry had been released when it was opened
        self._has_schema = False
        self.journal_id = secrets.token_hex(8)
        self.first_seq = self.next_seq = 1

    def __enter__(self) -> "Store":
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise Unavailable(f"{self._path}: {error}") from None
            self._set_aside(error)
            self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def streams(self) -> list[tuple[str, str, int, list[range]]]:
        """(source, stream, next_number, missing) of each stream, the latest last."""
        if not self._has_schema:
            return []
        query = "SELECT source, stream, next_number, missing FROM streams ORDER BY stored_s DESC LIMIT ?"
        rows = self._db.execute(query, (MAX_STREAMS,)).fetchall()
        return [(*row[:3], [range(*pair) for pair in json.loads(row[3])]) for row in reversed(rows)]

    def unreleased(self) -> list[Entry]:
        """Stored entries without a journal_seq."""
        if not self._has_schema:
            return []
        return [decode(row[0]) for row in self._db.execute("SELECT body FROM entries WHERE journal_seq IS NULL")]

    def write(self, entries: Iterable[Entry], streams: dict[tuple[str, str], StreamSequence], next_seq: int) -> None:
        """Writes all in one transaction, replacing stored entries. Raises Unwritable."""
        now_s = time.time_ns() // 1_000_000_000
        rows = [(str(entry.utterance_id), entry.journal_seq or None, now_s, encode(entry)) for entry in entries]
        stream_rows = [(*key, s.next_number, _as_json(s.missing), now_s) for key, s in streams.items()]
        try:
            self._create_schema()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT_ENTRY, rows)
            self._db.executemany("INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)", stream_rows)
            self._db.execute("UPDATE journal SET next_seq = ?", (next_seq,))
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._fail(error)
        self.next_seq = next_seq

    def read(self, since: int, limit: int, max_bytes: int) -> list[Entry]:
        """Released entries from `since` on; at least one if there is any. Raises Unwritable."""
        if not self._has_schema or since >= self.next_seq:
            return []
        entries, size = [], 0
        query = "SELECT body FROM entries WHERE journal_seq >= ? ORDER BY journal_seq LIMIT ?"
        try:
            for (body,) in self._db.execute(query, (max(0, since), limit)):
                size += len(body)
                if entries and size > max_bytes:
                    break
                entries.append(decode(body))
        except (sqlite3.DatabaseError, ProtocolError) as error:
            self._fail(error)
        return entries

    def seq_of(self, utterance_id: UtteranceId) -> int:
        """The journal_seq of an entry; 0 if it is not released, deleted or unknown."""
        query = "SELECT journal_seq FROM entries WHERE utterance_id = ?"
        row = None if not self._has_schema else self._db.execute(query, (str(utterance_id),)).fetchone()
        return (row and row[0]) or 0

    def delete_expired(self, max_age_days: float, max_mb: float) -> None:
        """Deletes up to DELETE_ROWS of the oldest released entries if they are too old or the file is too large.

        0 is no limit. Raises Unwritable.
        """
        if not self._has_schema:
            return
        query = "SELECT journal_seq, stored_s FROM entries WHERE journal_seq IS NOT NULL ORDER BY journal_seq LIMIT ?"
        oldest = self._db.execute(query, (DELETE_ROWS,)).fetchall()
        is_too_large = 0 < max_mb < self._used_mb()
        before_s = time.time_ns() / 1e9 - max_age_days * 86_400 if max_age_days else CLOCK_SET_S
        expired = [seq for seq, stored_s in oldest if is_too_large or CLOCK_SET_S < stored_s < before_s]
        if expired:
            self._delete_to(expired[-1])

    def _delete_to(self, seq: int) -> None:
        try:
            self._db.execute("DELETE FROM entries WHERE journal_seq <= ?", (seq,))
        except sqlite3.DatabaseError as error:
            self._fail(error)
        self.first_seq = self._first_seq()

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise ConfigError(f"journal.data_dir: cannot write {self._path}: {error.strerror}") from None
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from None
        self._db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA secure_delete = ON")  # overwrites what is deleted
        self._db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise ConfigError(f"{self._path} was written by a newer voicetap: move it away, or update")
        self._has_schema = version > 0
        if not self._has_schema:
            self._try_to_create_schema()
        else:
            self.journal_id, self.next_seq = self._db.execute("SELECT journal_id, next_seq FROM journal").fetchone()
            self.first_seq = self._first_seq()
            self.is_new = self.next_seq == 1

    def _try_to_create_schema(self) -> None:
        try:
            self._create_schema()
        except sqlite3.OperationalError as error:
            log.warning("%s: %s", self._path, error)
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _create_schema(self) -> None:
        if self._has_schema:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
            self._db.execute(statement)
        self._db.execute("INSERT INTO journal VALUES (?, 1)", (self.journal_id,))
        self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._db.execute("COMMIT")
        self._has_schema = True

    def _first_seq(self) -> int:
        first = self._db.execute("SELECT min(journal_seq) FROM entries").fetchone()[0]
        return first or self.next_seq

    def _used_mb(self) -> float:
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size / 1e6

    def _fail(self, error: sqlite3.DatabaseError | ProtocolError) -> None:
        """Rolls back and raises Unwritable. If the file is damaged, exits: the next process starts a new file."""
        if _is_damage(error):
            self._db.close()
            self._set_aside(error)
            raise SystemExit(1)
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        raise Unwritable(str(error)) from None

    def _set_aside(self, error: sqlite3.DatabaseError | ProtocolError) -> None:
        aside = self._path.with_name(f"{FILE}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        self._path.rename(aside)
        self._path.with_name(f"{FILE}-wal").unlink(missing_ok=True)
        log.error("%s is damaged (%s): kept as %s; starting a new one", self._path, error, aside.name)


def _is_damage(error: sqlite3.DatabaseError | ProtocolError) -> bool:
    return isinstance(error, ProtocolError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _as_json(missing: list[range]) -> str:
    return json.dumps([(numbers.start, numbers.stop) for numbers in missing])
