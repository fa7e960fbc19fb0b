"""journal's file: every entry once, in SQLite. Survives a kill at any instruction.

WAL mode, so that a commit is one append; exclusive locking, so that there is no shared memory file, which would be
left behind by a kill and cause SIGBUS on a full disk. The schema and the journal's id are written at the start, or on a
full disk with the first write that succeeds.
"""

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from voicetap.codec import UtteranceId
from voicetap.errors import ConfigError, Unavailable
from voicetap.messages import Entry

from .salvage import salvage
from .sequencer import StreamSequence
from .tables import (
    COLUMNS,
    MAX_VERSION,
    PUT_STREAM,
    READ_ERRORS,
    SCHEMA_VERSION,
    StreamRow,
    configure,
    create_schema,
    entry_of,
    entry_row,
    is_damage,
    journal_of,
    stream_of,
    stream_row,
)

FILE = "journal.sqlite"
MAX_STREAMS = 1000  # restored; each new ring is one
DELETE_ROWS = 50  # at a time: deleting must not delay the loop
CLOCK_SET_S = 1_577_836_800  # 2020: earlier times come from a machine without a clock and give no age
_PUT_ENTRY = """
INSERT INTO entries VALUES (?, ?, ?, ?)
ON CONFLICT (utterance_id) DO UPDATE SET journal_seq = excluded.journal_seq, body = excluded.body
"""

log = logging.getLogger("store")


class Unwritable(RuntimeError):
    """The file is not writable now, because of a full or read-only disk. Nothing was changed; a retry may succeed."""


class Store:
    """The database in `directory`. With `durable` every commit waits for the disk, to survive a power cut."""

    def __init__(self, directory: Path, durable: bool):
        self._path = directory / FILE
        self._durable = durable
        self.is_new = True  # no entry had been released when it was opened, or entries may have been lost from it
        self._has_schema = False
        self._is_recovered = False
        self.journal_id = secrets.token_hex(8)
        self.first_seq = self.next_seq = 1

    def __enter__(self) -> "Store":
        """Raises ConfigError, or Unavailable when a later start may succeed. A damaged file is replaced."""
        try:
            if not self._opens() and not self._opens():  # a disk that damages even a new file, or our own fault
                self._keep_damaged()
                self._open()
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from None
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise ConfigError(f"journal.data_dir: cannot write {self._path}: {error.strerror}") from None
        except OSError as error:
            raise Unavailable(f"{error.filename or self._path}: {error.strerror}") from None
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def streams(self) -> list[StreamRow]:
        """(source, stream, next_number, missing) of each stream, the latest last."""
        with self._handling_errors():
            return self._read_streams() if self._has_schema else []

    def unreleased(self) -> list[Entry]:
        """Stored entries without a journal_seq."""
        with self._handling_errors():
            return self._read_unreleased() if self._has_schema else []

    def write(self, entries: Iterable[Entry], streams: dict[tuple[str, str], StreamSequence], next_seq: int) -> None:
        """Writes all in one transaction, replacing stored entries. Raises Unwritable."""
        now_s = time.time_ns() // 1_000_000_000
        rows = [entry_row(entry, now_s) for entry in entries]
        stream_rows = [stream_row(key, stream.next_number, stream.missing, now_s) for key, stream in streams.items()]
        with self._handling_errors():
            self._create_schema()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT_ENTRY, rows)
            self._db.executemany(PUT_STREAM, stream_rows)
            self._db.execute("UPDATE journal SET next_seq = ?", (next_seq,))
            self._db.execute("COMMIT")
        self.next_seq = next_seq

    def read(self, since: int, limit: int, max_bytes: int) -> list[Entry]:
        """Released entries from `since` on; at least one if there is any. Raises Unwritable."""
        if not self._has_schema or since >= self.next_seq:
            return []
        entries: list[Entry] = []
        size = 0
        query = "SELECT journal_seq, body FROM entries WHERE journal_seq >= ? ORDER BY journal_seq LIMIT ?"
        with self._handling_errors():
            for seq, body in self._db.execute(query, (max(0, since), limit)):
                entries.append(self._checked(seq, body))
                size += len(body)
                if size > max_bytes and len(entries) > 1:
                    return entries[:-1]
        return entries

    def seq_of(self, utterance_id: UtteranceId) -> int:
        """The journal_seq of an entry; 0 if it is not released, deleted or unknown. Raises Unwritable."""
        if not self._has_schema:
            return 0
        query = "SELECT journal_seq FROM entries WHERE utterance_id = ?"
        with self._handling_errors():
            row = self._db.execute(query, (str(utterance_id),)).fetchone()
        return row[0] if row and type(row[0]) is int else 0

    def delete_expired(self, max_age_days: float, max_mb: float) -> None:
        """Deletes up to DELETE_ROWS of the oldest released entries if they are too old or the file is too large.

        0 is no limit. Raises Unwritable.
        """
        if not self._has_schema:
            return
        query = "SELECT journal_seq, stored_s FROM entries WHERE journal_seq IS NOT NULL ORDER BY journal_seq LIMIT ?"
        with self._handling_errors():
            oldest = self._db.execute(query, (DELETE_ROWS,)).fetchall()
            is_too_large = 0 < max_mb < self._used_mb()
            before_s = time.time_ns() / 1e9 - max_age_days * 86_400 if max_age_days else CLOCK_SET_S
            expired = [seq for seq, stored_s in oldest if is_too_large or CLOCK_SET_S < stored_s < before_s]
            if expired:
                self._db.execute("DELETE FROM entries WHERE journal_seq <= ?", (expired[-1],))
                self.first_seq = self._first_seq()

    def _opens(self) -> bool:
        """Opens the file. False if it is damaged, and set aside."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._finish_recovery()
            self._open()
        except ConfigError:
            raise
        except READ_ERRORS as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
            return False
        return True

    def _open(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                header = os.pread(fd, 20, 0)  # now: closing a descriptor later would release SQLite's locks
            finally:
                os.close(fd)
        except IsADirectoryError:
            raise ConfigError(f"journal.data_dir: {self._path} is a directory") from None
        if header[18:19] > b"\2":
            raise ValueError("its version is unknown to SQLite")  # which would open it, but for reading only
        self._db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        configure(self._db, self._durable)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if SCHEMA_VERSION < version <= MAX_VERSION:
            raise ConfigError(f"{self._path} was written by a newer voicetap: move it away, or update")
        self._has_schema = version == SCHEMA_VERSION
        self._check(version)
        if not self._has_schema:
            self._try_to_create_schema()
        else:
            row = self._db.execute("SELECT journal_id, next_seq FROM journal").fetchone()
            self.journal_id, self.next_seq = journal_of(row)
            self.first_seq = self._first_seq()
            self.is_new = self._is_recovered or self.next_seq == 1
            self._read_streams(), self._read_unreleased()  # a start needs them: found damaged later, it would loop

    def _check(self, version: int) -> None:
        """Raises sqlite3.DatabaseError or ValueError when the file is damaged."""
        if (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        if not self._has_schema and (version or self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            raise ValueError(f"its version is {version}, but it has tables")
        for table, columns in COLUMNS.items() if self._has_schema else ():
            self._db.execute(f"SELECT {columns} FROM {table} LIMIT 0")

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
        create_schema(self._db, self.journal_id)
        self._db.execute("COMMIT")
        self._has_schema = True

    def _first_seq(self) -> int:
        first = self._db.execute("SELECT min(journal_seq) FROM entries").fetchone()[0]
        return first or self.next_seq

    def _used_mb(self) -> float:
        pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size / 1e6

    def _read_streams(self) -> list[StreamRow]:
        query = "SELECT source, stream, next_number, missing FROM streams ORDER BY stored_s DESC LIMIT ?"
        return [stream_of(*row) for row in reversed(self._db.execute(query, (MAX_STREAMS,)).fetchall())]

    def _read_unreleased(self) -> list[Entry]:
        rows = self._db.execute("SELECT body FROM entries WHERE journal_seq IS NULL")
        return [self._checked(None, body) for (body,) in rows]

    def _checked(self, seq: int | None, body: object) -> Entry:
        """The entry of a row. Raises ValueError when the row is damaged."""
        if (entry := entry_of(body)).journal_seq != (seq or 0):
            raise ValueError(f"entry {entry.journal_seq} is stored as {seq}")
        return entry

    # ---- damage -------------------------------------------------------------------------------------

    @contextmanager
    def _handling_errors(self) -> Iterator[None]:
        """Rolls back and raises Unwritable. If the file is damaged, exits: the next process recovers it."""
        try:
            yield
        except READ_ERRORS as error:
            if is_damage(error):
                self._db.close()
                self._set_aside(error)
                raise SystemExit(1) from None
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Unwritable(str(error)) from None

    def _set_aside(self, error: Exception) -> None:
        """Renames the damaged file and its log, the log first: a new file must never be opened with an old log."""
        log.error("%s is damaged (%s)", self._path, error)
        for suffix in ("-wal", ""):
            with suppress(FileNotFoundError):
                self._sibling(suffix).rename(self._sibling(f".damaged{suffix}"))

    def _finish_recovery(self) -> None:
        """Replaces a file that was set aside by what can be read of it; continues after a kill at any instruction."""
        damaged, salvaged = self._sibling(".damaged"), self._sibling(".salvaged")
        if self._sibling(".damaged-wal").exists() and not damaged.exists() and self._path.exists():
            self._path.rename(damaged)
        if not damaged.exists():
            return
        self._is_recovered = True
        if not self._path.exists():
            count = salvage(damaged, salvaged, self.journal_id, self._durable)
            salvaged.rename(self._path)
            log.error("%s: %d entries were recovered", self._path, count)
        self._keep_damaged()

    def _keep_damaged(self) -> None:
        """Gives the damaged file its final name."""
        name = f".damaged-{time.strftime('%Y%m%dT%H%M%S')}"
        while self._sibling(name).exists():
            name += "+"
        for suffix in ("-wal", ""):
            with suppress(FileNotFoundError):
                self._sibling(f".damaged{suffix}").rename(self._sibling(f"{name}{suffix}"))
        log.error("the damaged file is kept as %s", self._sibling(name))

    def _sibling(self, suffix: str) -> Path:
        return self._path.with_name(f"{FILE}{suffix}")
