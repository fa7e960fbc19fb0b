"""The segment store of one source: the segments that journal has not committed, in a SQLite file. No audio.

A decision is committed here before anything is sent, so a restarted vad never cuts the same sound differently.
`synchronous` is off: the file must survive the death of the process, not of the machine.
"""

import logging
import sqlite3
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, fields
from enum import StrEnum
from pathlib import Path

from voicetap.codec import UtteranceId
from voicetap.messages import SAMPLE_RATE_HZ, AudioFrame, Entry, Failed, Final, Gap, SpeechStarted, SpeechStopped
from voicetap.vocabulary import Reason

log = logging.getLogger("segment_store")


class SegmentKind(StrEnum):
    OPEN = "open"  # announced, not ended
    SPEECH = "speech"  # ended; its job is owed until journal has its entry
    SHORT = "short"  # too little speech for a job
    GAP = "gap"  # sound that never arrived
    FAILED = "failed"


@dataclass(frozen=True)
class Segment:
    """The span of one utterance or gap, both frames included; a row of the table `cuts`."""

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
    continues: bool = False  # the rest of an utterance that was cut in the middle of speech
    speech: str = ""  # of its job, in hexadecimal digits


@dataclass(frozen=True)
class Checkpoint:
    """How far a stream is decided: up to, not including, frame `seq` at `position`. A row of the table `marks`."""

    stream: str
    seq: int
    position: int
    last_number: int = 0
    gaps: int = 0
    gap_seq: int = -1  # the frame after the last gap: after a restart the same gap must not be counted again
    cut_off: bool = False  # the last utterance ended because no frames arrived; contiguous frames continue it


_COLUMNS = ", ".join(spec.name for spec in fields(Segment))
_CHECKPOINT_COLUMNS = ", ".join(spec.name for spec in fields(Checkpoint) if spec.name != "stream")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS cuts ({_COLUMNS}, PRIMARY KEY (stream, number));
CREATE TABLE IF NOT EXISTS marks (stream PRIMARY KEY, {_CHECKPOINT_COLUMNS});
"""


class SegmentStore:
    """Changes are durable from `commit` on. A damaged file is replaced by an empty one.

    `is_new`: the file was empty when it was opened: a first start, or the old file was damaged or removed.
    Raises sqlite3.OperationalError when the disk is full or read-only.
    """

    def __init__(self, path: Path):
        self._cache: dict[tuple[str, ...], int | None] = {}
        try:
            self._database = _open(path)
        except sqlite3.OperationalError:
            raise  # the disk is at fault, not the file
        except sqlite3.DatabaseError as error:
            log.error("%s is damaged (%s): starting a new one", path, error)
            for damaged in path.parent.glob(f"{path.name}*"):
                damaged.unlink()
            self._database = _open(path)
        has_rows = "SELECT EXISTS (SELECT 1 FROM marks) OR EXISTS (SELECT 1 FROM cuts)"
        self.is_new = not self._database.execute(has_rows).fetchone()[0]

    def close(self) -> None:
        self._database.close()

    def commit(self) -> None:
        self._database.commit()

    def load_checkpoint(self, stream: str) -> Checkpoint | None:
        row = self._database.execute("SELECT * FROM marks WHERE stream = ?", (stream,)).fetchone()
        return Checkpoint(*row) if row else None

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._save("marks", checkpoint)

    def segments(self) -> list[Segment]:
        """Every segment that journal has not committed, in order of stream and number."""
        return [Segment(*row) for row in self._database.execute("SELECT * FROM cuts ORDER BY stream, number")]

    def save(self, segment: Segment) -> None:
        self._save("cuts", segment)

    def _save(self, table: str, row: Segment | Checkpoint) -> None:
        self._cache.clear()
        places = ", ".join("?" * len(fields(row)))
        self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", astuple(row))

    def save_attempt(self, stream: str, number: int, attempt: int) -> None:
        self._database.execute("UPDATE cuts SET attempt = ? WHERE stream = ? AND number = ?", (attempt, stream, number))

    def drop(self, stream: str, first: int, last: int) -> None:
        """Removes the numbers from `first` to `last`, which journal has committed, except an open segment."""
        if not self.backlog():
            return
        self._cache.clear()
        numbers = "stream = ? AND number BETWEEN ? AND ? AND kind != 'open'"
        self._database.execute(f"DELETE FROM cuts WHERE {numbers}", (stream, first, last))

    def backlog(self) -> int:
        """The number of ended segments that journal has not committed."""
        return self._query("SELECT count(*) FROM cuts WHERE kind != 'open'")

    def oldest_seq(self, stream: str) -> int | None:
        """The oldest frame that a restart would need for a segment."""
        return self._query("SELECT min(first_seq) FROM cuts WHERE stream = ? AND kind IN ('open', 'speech')", stream)

    def _query(self, query: str, *values: str) -> int | None:
        """Queried ten times a second, but rows change seldom: the answer is cached until one does."""
        if (key := (query, *values)) not in self._cache:
            self._cache[key] = self._database.execute(query, values).fetchone()[0]
        return self._cache[key]


def read_all(runtime_dir: Path) -> dict[str, dict[str, list[dict]]]:
    """The segments and checkpoints of every source, read without disturbing the vad that writes them."""
    return {path.stem.removeprefix("cuts-"): _read(path) for path in sorted(runtime_dir.glob("cuts-*.sqlite"))}


def _read(path: Path) -> dict[str, list[dict]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one snapshot of both tables
        return {
            "segments": [
                asdict(Segment(*row)) for row in database.execute("SELECT * FROM cuts ORDER BY stream, number")
            ],
            "checkpoints": [asdict(Checkpoint(*row)) for row in database.execute("SELECT * FROM marks")],
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


# ---- messages of a segment ------------------------------------------------------------------------


def id_of(source: str, segment: Segment) -> UtteranceId:
    return UtteranceId(source, segment.stream, segment.number)


def started_of(source: str, segment: Segment, onset: AudioFrame) -> SpeechStarted:
    return SpeechStarted(
        utterance_id=id_of(source, segment),
        source=source,
        start_s=segment.start_position / SAMPLE_RATE_HZ,
        onset_s=onset.position / SAMPLE_RATE_HZ,
        captured_ns=onset.captured_ns,
        wall_ns=segment.wall_ns,
    )


def stopped_of(source: str, segment: Segment) -> SpeechStopped:
    return SpeechStopped(
        utterance_id=id_of(source, segment),
        source=source,
        end_s=segment.end_position / SAMPLE_RATE_HZ,
        reason=segment.reason,
    )


def entry_of(source: str, segment: Segment) -> Entry:
    """The entry of a segment that needs no worker: a gap, too short, or failed."""
    common = {
        "utterance_id": id_of(source, segment),
        "source": source,
        "start_s": segment.start_position / SAMPLE_RATE_HZ,
        "end_s": segment.end_position / SAMPLE_RATE_HZ,
        "wall_ns": segment.wall_ns,
    }
    if segment.kind == SegmentKind.GAP:
        return Gap(reason=segment.reason, **common)
    if segment.kind == SegmentKind.SHORT:
        ended = {"cut_reason": segment.reason, "ended_ns": segment.ended_ns}
        return Final(text="", reason=Reason.TOO_SHORT, **ended, **common)
    return Failed(reason=segment.reason, attempt=segment.attempt, **common)
