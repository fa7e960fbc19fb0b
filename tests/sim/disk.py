"""The disk of the simulated host: databases that keep what was committed when their process dies, and nothing else.

The databases are SQLite's own, in memory. Before and after every change there is a moment at which its process may die.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

_CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE", "BEGIN", "COMMIT")


class Disk:
    """Stands in for the module `sqlite3`."""

    DatabaseError = sqlite3.DatabaseError
    Error = sqlite3.Error
    OperationalError = sqlite3.OperationalError
    SQLITE_CORRUPT = sqlite3.SQLITE_CORRUPT
    SQLITE_NOTADB = sqlite3.SQLITE_NOTADB
    Connection = sqlite3.Connection

    def __init__(self, step: Callable[[], None], at_end: Callable[[Callable[[], None]], None]):
        self.full = False
        self.step = step
        self._at_end = at_end
        self._databases: dict[str, sqlite3.Connection] = {}

    def connect(self, path: Path, isolation_level: str | None = "", timeout: float = 5.0) -> "Connection":
        if path.name not in self._databases:
            self._databases[path.name] = sqlite3.connect(":memory:", isolation_level=isolation_level)
        connection = Connection(self, self._databases[path.name])
        self._at_end(connection.close)
        return connection

    def read(self, name: str, query: str) -> list[tuple]:
        """For those who look from outside. Nothing, where nothing could be written yet."""
        try:
            return self._databases[name].execute(query).fetchall()
        except (KeyError, sqlite3.OperationalError):
            return []

    def lose(self, name: str) -> None:
        """The file is gone."""
        if database := self._databases.pop(name, None):
            database.close()

    def close(self) -> None:
        for name in list(self._databases):
            self.lose(name)


class Connection:
    """A process's connection to a database."""

    def __init__(self, disk: Disk, database: sqlite3.Connection):
        self._disk = disk
        self._database = database

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction

    def execute(self, statement: str, values: Iterable = ()) -> sqlite3.Cursor:
        if not statement.lstrip().startswith(_CHANGES):
            return self._database.execute(statement, values)
        self._may_fail()
        found = self._database.execute(statement, values)
        self._disk.step()
        return found

    def executemany(self, statement: str, rows: Iterable) -> None:
        self._may_fail()
        self._database.executemany(statement, rows)
        self._disk.step()

    def executescript(self, statements: str) -> None:
        self._may_fail()
        self._database.executescript(statements)
        self._disk.step()

    def commit(self) -> None:
        if self._database.in_transaction:
            self._may_fail()
            self._database.commit()
            self._disk.step()

    def close(self) -> None:
        """Closed or killed: what was not committed has never been."""
        self._database.rollback()

    def _may_fail(self) -> None:
        self._disk.step()
        if self._disk.full:
            raise sqlite3.OperationalError("database or disk is full")
