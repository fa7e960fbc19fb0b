"""The cut list of one source: where its utterances and gaps are, in a SQLite file. Positions only, never sound.

What is decided is committed here before anything is sent, so a restarted vad never cuts the same sound
differently. `synchronous` is off: the file must survive the death of the process, not of the machine.
"""

import logging
import sqlite3
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

log = logging.getLogger("cutlist")

OPEN, SPEECH, SHORT, GAP, FAILED = "open", "speech", "short", "gap", "failed"


@dataclass(frozen=True)
class Cut:
    """One number of a stream. `kind` is open (announced, not ended), speech, short, gap or failed."""

    stream: str
    number: int
    kind: str
    first_seq: int
    last_seq: int
    onset_seq: int
    start_position: int
    end_position: int
    wall_ns: int
    ended_ns: int = 0
    reason: str = ""
    attempt: int = 0
    continues: bool = False  # the rest of one that reached the hard limit


@dataclass(frozen=True)
class Mark:
    """How far a stream is decided: everything before `seq` (at `position`) is; and its last number."""

    stream: str
    seq: int
    position: int
    last_number: int = 0
    gaps: int = 0
    gap_seq: int = -1  # the frame after the last gap: a gap heard again after a restart is not a new one
    cut_off: bool = False  # an utterance was ended here because nothing came; what follows without a hole is its rest


_COLUMNS = ", ".join(spec.name for spec in fields(Cut))
_MARK_COLUMNS = ", ".join(spec.name for spec in fields(Mark) if spec.name != "stream")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS cuts ({_COLUMNS}, PRIMARY KEY (stream, number));
CREATE TABLE IF NOT EXISTS marks (stream PRIMARY KEY, {_MARK_COLUMNS});
"""


class CutList:
    """Changes are kept from `commit` on. A damaged file is replaced by an empty one.

    `is_new`: there is nothing in it: it is the first start, or the old one was damaged or removed.
    """

    def __init__(self, path: Path):
        self._answers: dict[tuple[str, ...], int | None] = {}
        try:
            self._database = _open(path)
        except sqlite3.OperationalError:
            raise  # a full or read-only disk: nothing wrong with the file
        except sqlite3.DatabaseError as error:
            log.error("%s is damaged (%s): starting a new one", path, error)
            for damaged in path.parent.glob(f"{path.name}*"):
                damaged.unlink()
            self._database = _open(path)
        anything = "SELECT EXISTS (SELECT 1 FROM marks) OR EXISTS (SELECT 1 FROM cuts)"
        self.is_new = not self._database.execute(anything).fetchone()[0]

    def close(self) -> None:
        self._database.close()

    def commit(self) -> None:
        self._database.commit()

    def mark(self, stream: str) -> Mark | None:
        row = self._database.execute("SELECT * FROM marks WHERE stream = ?", (stream,)).fetchone()
        return Mark(*row) if row else None

    def put_mark(self, mark: Mark) -> None:
        self._put("marks", mark)

    def cuts(self) -> list[Cut]:
        """Every cut that journal has not committed, in order of stream and number."""
        return [Cut(*row) for row in self._database.execute("SELECT * FROM cuts ORDER BY stream, number")]

    def put(self, cut: Cut) -> None:
        self._put("cuts", cut)

    def _put(self, table: str, row: Cut | Mark) -> None:
        self._answers.clear()
        places = ", ".join("?" * len(fields(row)))
        self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", astuple(row))

    def set_attempt(self, stream: str, number: int, attempt: int) -> None:
        self._database.execute("UPDATE cuts SET attempt = ? WHERE stream = ? AND number = ?", (attempt, stream, number))

    def forget(self, stream: str, first: int, last: int) -> None:
        """journal has committed these numbers."""
        if not self.backlog():
            return
        self._answers.clear()
        numbers = "stream = ? AND number BETWEEN ? AND ? AND kind != 'open'"
        self._database.execute(f"DELETE FROM cuts WHERE {numbers}", (stream, first, last))

    def backlog(self) -> int:
        """How many cuts journal has not committed."""
        return self._ask("SELECT count(*) FROM cuts WHERE kind != 'open'")

    def oldest_seq(self, stream: str) -> int | None:
        """The oldest frame that a restart would need for a cut."""
        return self._ask("SELECT min(first_seq) FROM cuts WHERE stream = ? AND kind IN ('open', 'speech')", stream)

    def _ask(self, query: str, *values: str) -> int | None:
        """Asked ten times a second, and changed seldom: so the answer is kept until a row changes."""
        if (question := (query, *values)) not in self._answers:
            self._answers[question] = self._database.execute(query, values).fetchone()[0]
        return self._answers[question]


def look_at_all(runtime_dir: Path) -> dict[str, dict[str, list[dict]]]:
    """Per source, the `cuts` and `marks` of its list: read beside the vad that writes them, which notices nothing."""
    return {path.stem.removeprefix("cuts-"): _look_at(path) for path in sorted(runtime_dir.glob("cuts-*.sqlite"))}


def _look_at(path: Path) -> dict[str, list[dict]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # both tables as they were at one moment
        return {
            "cuts": [asdict(Cut(*row)) for row in database.execute("SELECT * FROM cuts ORDER BY stream, number")],
            "marks": [asdict(Mark(*row)) for row in database.execute("SELECT * FROM marks")],
        }


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_SCHEMA)
        if (found := database.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        columns = "SELECT group_concat(name, ', ') FROM pragma_table_info('cuts')"
        if (found := database.execute(columns).fetchone()[0]) != _COLUMNS:
            raise sqlite3.DatabaseError(f"of another version, with {found}")
    except sqlite3.Error:
        database.close()
        raise
    return database
