"""The cut list outlives its process, keeps its numbers, and survives damage."""

from dataclasses import replace
from pathlib import Path

import pytest

from voicetap_vad.cutlist import GAP, OPEN, SPEECH, Cut, CutList, Mark

CUT = Cut("a1", 1, SPEECH, 10, 20, 12, 5120, 10_752, 1, 2, "silence")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cuts-mic.sqlite"


def test_what_was_committed_is_there_for_the_next_process(path):
    cuts = CutList(path)
    cuts.put(CUT)
    cuts.put_mark(Mark("a1", 21, 10_752, last_number=1))
    cuts.commit()
    cuts.put(replace(CUT, number=2))  # decided, not noted: it dies with the process
    cuts.close()
    again = CutList(path)
    assert (again.cuts(), again.mark("a1")) == ([CUT], Mark("a1", 21, 10_752, last_number=1))
    assert again.mark("b2") is None
    again.close()


def test_journals_word_removes_cuts_but_never_the_open_one(path):
    cuts = CutList(path)
    for number, kind in enumerate((SPEECH, GAP, SPEECH, OPEN), 1):
        cuts.put(replace(CUT, number=number, kind=kind, first_seq=10 * number))
    cuts.put(replace(CUT, stream="b2"))
    assert (cuts.backlog(), cuts.oldest_seq("a1")) == (4, 10)
    cuts.forget("a1", 1, 2)
    assert (cuts.backlog(), cuts.oldest_seq("a1")) == (2, 30)
    cuts.forget("a1", 1, 9)
    assert [cut.kind for cut in cuts.cuts()] == [OPEN, SPEECH]
    cuts.close()


def test_attempts_are_kept(path):
    cuts = CutList(path)
    cuts.put(CUT)
    cuts.set_attempt("a1", 1, 2)
    assert cuts.cuts()[0].attempt == 2
    cuts.close()


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_replaced(path, content):
    path.write_bytes(content)
    cuts = CutList(path)
    assert cuts.is_new and cuts.cuts() == []
    cuts.put(CUT)
    cuts.commit()
    cuts.close()
    again = CutList(path)
    assert not again.is_new and again.cuts() == [CUT]
    again.close()


def test_a_file_with_other_columns_is_replaced(path):
    cuts = CutList(path)
    cuts._database.executescript("DROP TABLE cuts; CREATE TABLE cuts (something);")
    cuts.close()
    again = CutList(path)
    assert again.is_new and again.cuts() == []
    again.close()
