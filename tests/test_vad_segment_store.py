"""The segment store outlives its process, keeps its numbers, and replaces damaged files."""

from dataclasses import replace
from pathlib import Path

import pytest

from voicetap_vad.segment_store import Checkpoint, Segment, SegmentKind, SegmentStore

SEGMENT = Segment("a1", 1, SegmentKind.SPEECH, 10, 20, 12, 5120, 10_752, 1, 2, "silence")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cuts-mic.sqlite"


def test_the_next_process_finds_what_was_committed(path):
    store = SegmentStore(path)
    store.save(SEGMENT)
    store.save_checkpoint(Checkpoint("a1", 21, 10_752, last_number=1))
    store.commit()
    store.save(replace(SEGMENT, number=2))  # not committed: it dies with the process
    store.close()
    again = SegmentStore(path)
    assert (again.segments(), again.load_checkpoint("a1")) == ([SEGMENT], Checkpoint("a1", 21, 10_752, last_number=1))
    assert again.load_checkpoint("b2") is None
    again.close()


def test_committed_segments_are_dropped_but_never_the_open_one(path):
    store = SegmentStore(path)
    for number, kind in enumerate((SegmentKind.SPEECH, SegmentKind.GAP, SegmentKind.SPEECH, SegmentKind.OPEN), 1):
        store.save(replace(SEGMENT, number=number, kind=kind, first_seq=10 * number))
    store.save(replace(SEGMENT, stream="b2"))
    assert (store.backlog(), store.oldest_seq("a1")) == (4, 10)
    store.drop("a1", 1, 2)
    assert (store.backlog(), store.oldest_seq("a1")) == (2, 30)
    store.drop("a1", 1, 9)
    assert [segment.kind for segment in store.segments()] == [SegmentKind.OPEN, SegmentKind.SPEECH]
    store.close()


def test_attempts_are_kept(path):
    store = SegmentStore(path)
    store.save(SEGMENT)
    store.save_attempt("a1", 1, 2)
    assert store.segments()[0].attempt == 2
    store.close()


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_replaced(path, content):
    path.write_bytes(content)
    store = SegmentStore(path)
    assert store.is_new and store.segments() == []
    store.save(SEGMENT)
    store.commit()
    store.close()
    again = SegmentStore(path)
    assert not again.is_new and again.segments() == [SEGMENT]
    again.close()


def test_a_file_with_other_columns_is_replaced(path):
    store = SegmentStore(path)
    store._database.executescript("DROP TABLE cuts; CREATE TABLE cuts (something);")
    store.close()
    again = SegmentStore(path)
    assert again.is_new and again.segments() == []
    again.close()
