"""The disk of the simulated host: databases that keep what was committed when their process dies, and nothing else.

The databases are SQLite's own, in memory. Before and after every change is a step at which the process may die.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

_CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE", "BEGIN", "COMMIT")


class Disk:
    """Replaces the module `sqlite3`."""

    DatabaseError = sqlite3.DatabaseError
    Error = sqlite3.Error
    InterfaceError = sqlite3.InterfaceError
    OperationalError = sqlite3.OperationalError
    ProgrammingError = sqlite3.ProgrammingError
    Connection = sqlite3.Connection

    def __init__(self, step: Callable[[], None], on_exit: Callable[[Callable[[], None]], None]):
        self.full = False
        self.step = step
        self._on_exit = on_exit
        self._databases: dict[str, sqlite3.Connection] = {}
        self._planned: dict[str, tuple[int, Callable[[], None]]] = {}  # by file: a fault, and steps until then

    def connect(self, path: Path, isolation_level: str | None = "", timeout: float = 5.0) -> "Connection":
        if path.name not in self._databases:
            self._databases[path.name] = sqlite3.connect(":memory:", isolation_level=isolation_level)
        connection = Connection(self, path.name, self._databases[path.name])
        self._on_exit(connection.close)
        return connection

    def read(self, name: str, query: str) -> list[tuple]:
        """For checks from outside. Empty if nothing was written yet."""
        try:
            return self._databases[name].execute(query).fetchall()
        except (KeyError, sqlite3.OperationalError):
            return []

    def after_steps(self, name: str, steps: int, fault: Callable[[], None]) -> None:
        """Plans a fault of the process that changes the file."""
        self._planned[name] = (steps, fault)

    def cancel_faults(self) -> None:
        self._planned.clear()

    def step_of(self, name: str) -> None:
        """A step at a change of the file."""
        if name in self._planned:
            steps, fault = self._planned.pop(name)
            if steps > 1:
                self._planned[name] = (steps - 1, fault)
            else:
                fault()
        self.step()

    def delete(self, name: str) -> None:
        if database := self._databases.pop(name, None):
            database.close()

    def close(self) -> None:
        for name in list(self._databases):
            self.delete(name)


class Connection:
    """A process's connection to a database."""

    def __init__(self, disk: Disk, name: str, database: sqlite3.Connection):
        self._disk = disk
        self._name = name
        self._database = database

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction

    def execute(self, statement: str, values: Iterable = ()) -> sqlite3.Cursor:
        if not statement.lstrip().startswith(_CHANGES):
            return self._database.execute(statement, values)
        self._may_fail()
        found = self._database.execute(statement, values)
        self._disk.step_of(self._name)
        return found

    def executemany(self, statement: str, rows: Iterable) -> None:
        self._may_fail()
        self._database.executemany(statement, rows)
        self._disk.step_of(self._name)

    def executescript(self, statements: str) -> None:
        self._may_fail()
        self._database.executescript(statements)
        self._disk.step_of(self._name)

    def commit(self) -> None:
        if self._database.in_transaction:
            self._may_fail()
            self._database.commit()
            self._disk.step_of(self._name)

    def close(self) -> None:
        """When the process closes it or dies: what was not committed is gone."""
        self._database.rollback()

    def _may_fail(self) -> None:
        self._disk.step_of(self._name)
        if self._disk.full:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
