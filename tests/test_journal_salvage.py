"""A damaged journal never stops voicetap for good, and what can be read of it is kept."""

import os
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rig.sample_messages import STREAM, final, id_of
from voicetap.errors import ConfigError, Unavailable
from voicetap_journal import store as store_module
from voicetap_journal.sequencer import Sequencer
from voicetap_journal.service import restore_sequencer
from voicetap_journal.store import FILE, Store

COUNT = 120
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # every recovery waits for its disk
VERSION_BYTE = 63  # a flipped one may be that of a newer voicetap
PAGE = 4096
TABLE_LEAF, TABLE_INTERIOR = 13, 5
TEXT = "x" * 900  # four entries in a page


@cache
def healthy() -> bytes:
    """A journal of COUNT released entries, and one that is not released."""
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory))
        return Path(directory, FILE).read_bytes()


def fill(directory: Path) -> str:
    """Returns the journal's id."""
    sequencer = Sequencer(1, 600.0)
    with Store(directory, durable=False) as store:
        for number in [*range(1, COUNT + 1), COUNT + 2]:
            sequencer.add(final(number, TEXT), 0.0)
            written = sequencer.release(0.0) or [final(number, TEXT)]
            store.write(written, sequencer.streams, sequencer.next_seq)
        return store.journal_id


def seqs(store: Store) -> list[int]:
    return [entry.journal_seq for entry in store.read(1, 2 * COUNT, 1 << 30)]


def use(directory: Path) -> list[int]:
    """Everything that a journal does with its file, restarted where it exits; at most twice. Returns all seqs."""
    for source in ("first", "second", "third"):
        with Store(directory, durable=False) as store:
            try:
                sequencer = restore_sequencer(store, 600.0)
                found = seqs(store)
                sequencer.add(final(1, source=source), 0.0)
                store.write(sequencer.release(0.0), sequencer.streams, sequencer.next_seq)
                assert store.seq_of(id_of(1, source)) == store.next_seq - 1
                store.seq_of(id_of(1))
                store.delete_expired(1e-9, 1e-9)
                return found
            except SystemExit:
                pass
    raise AssertionError("a crash loop")


def pages_of(content: bytes, kind: int) -> list[int]:
    return [number for number in range(1, len(content) // PAGE) if content[number * PAGE] == kind]


def root_of(content: bytes, tmp_path: Path, table: str) -> int:
    (tmp_path / "healthy").write_bytes(content)
    with sqlite3.connect(tmp_path / "healthy") as database:
        [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return page - 1


def damage(tmp_path: Path, page: int) -> None:
    content = bytearray(healthy())
    content[page * PAGE] = 0x99
    (tmp_path / FILE).write_bytes(content)


def original_id() -> str:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, FILE).write_bytes(healthy())
        with Store(Path(directory), durable=False) as store:
            return store.journal_id


@pytest.mark.parametrize("which", [0, 1, 15, -2, -1])
def test_the_entries_on_other_pages_keep_their_numbers_and_the_journal_its_id(tmp_path, which, caplog):
    tables = [root_of(healthy(), tmp_path, name) for name in ("streams", "journal")]
    page = [page for page in pages_of(healthy(), TABLE_LEAF) if page not in tables][which]
    damage(tmp_path, page)
    with Store(tmp_path, durable=False) as store:
        assert store.journal_id == original_id() and store.next_seq == COUNT + 1
        assert store.is_new, "numbers of a stream that are missing may be lost"
        found = seqs(store)
        assert COUNT - 5 <= len(found) < COUNT + 1 and set(found) <= set(range(1, COUNT + 1))
        assert all(entry.utterance_id.number == entry.journal_seq for entry in store.read(1, COUNT, 1 << 30))
        assert store.streams() == [("mic", STREAM, COUNT + 1, [])]
        recovered = len(found) + len(store.unreleased())
    assert f"{recovered} entries were recovered" in caplog.text
    [aside] = tmp_path.glob(f"{FILE}.damaged-*")
    assert aside.read_bytes()[page * PAGE] == 0x99


def test_a_damaged_table_of_streams_is_restored_from_the_entries(tmp_path):
    damage(tmp_path, root_of(healthy(), tmp_path, "streams"))
    with Store(tmp_path, durable=False) as store:
        assert (store.journal_id, seqs(store)) == (original_id(), list(range(1, COUNT + 1)))
        assert store.streams() == [("mic", STREAM, COUNT + 1, [])]
        assert store.unreleased() == [final(COUNT + 2, TEXT)]
        assert restore_sequencer(store, 600.0).contains(id_of(COUNT + 2))


def test_a_damaged_journal_row_is_a_new_journal_with_all_entries(tmp_path):
    damage(tmp_path, root_of(healthy(), tmp_path, "journal"))
    with Store(tmp_path, durable=False) as store:
        assert store.journal_id != original_id() and store.next_seq == COUNT + 1
        assert seqs(store) == list(range(1, COUNT + 1))


def test_any_page_may_be_damaged():
    for page in range(len(healthy()) // PAGE):
        content = bytearray(healthy())
        content[page * PAGE] = 0x99
        is_usable(bytes(content))


@effort(max_examples=150, deadline=None)
@given(st.integers(0, len(healthy()) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_no_crash_loop(position, flip):
    content = bytearray(healthy())
    content[position] ^= flip
    is_usable(bytes(content), may_be_newer=position == VERSION_BYTE)


def test_a_flipped_byte_of_the_header_and_the_schema_is_no_crash_loop():
    """They are at the beginning and at the end of page 1."""
    for position in [*range(112), *range(PAGE - 540, PAGE, 7)]:
        content = bytearray(healthy())
        content[position] ^= 1 << (position % 8)
        is_usable(bytes(content), may_be_newer=position == VERSION_BYTE)


@effort(max_examples=40, deadline=None)
@given(st.integers(0, len(healthy())))
def test_a_truncated_file_is_no_crash_loop(length):
    is_usable(healthy()[:length])


def is_usable(content: bytes, may_be_newer: bool = False) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        Path(directory, FILE).write_bytes(content)
        try:
            use(Path(directory))
        except ConfigError:
            assert may_be_newer


@pytest.mark.parametrize("operation", ["streams", "unreleased", "read", "seq_of", "delete_expired", "write"])
def test_damage_found_later_ends_the_process_and_the_next_recovers(tmp_path, operation):
    fill(tmp_path)
    with Store(tmp_path, durable=False) as store:
        store._db.execute(f"PRAGMA cache_size = {0}")
        calls = {
            "streams": store.streams,
            "unreleased": store.unreleased,
            "read": lambda: store.read(1, 10, 1 << 20),
            "seq_of": lambda: store.seq_of(id_of(1)),
            "delete_expired": lambda: store.delete_expired(1, 1),
            "write": lambda: store.write([final(9, source="hall")], {}, COUNT + 1),
        }
        store._db.execute("PRAGMA writable_schema = ON")
        store._db.execute("UPDATE sqlite_master SET rootpage = 999999 WHERE name NOT LIKE 'journal'")
        store._db.execute("PRAGMA schema_version = 77")  # it reads the schema again
        with pytest.raises(SystemExit):
            calls[operation]()
    assert not (tmp_path / FILE).exists()
    with Store(tmp_path, durable=False) as store:
        assert store.is_new
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1


@pytest.mark.parametrize("kill_at", ["rename", "salvage"])
def test_a_kill_during_the_recovery_is_no_loss(tmp_path, monkeypatch, kill_at):
    """Before every rename, and after the new file is written."""

    class Killed(BaseException):
        pass

    for nth in range(1, 6):
        directory = tmp_path / str(nth)
        directory.mkdir()
        damage(directory, root_of(healthy(), tmp_path, "streams"))
        calls = 0
        real = Path.rename if kill_at == "rename" else store_module.salvage

        def killed(*arguments, nth=nth, real=real):
            nonlocal calls
            calls += 1
            if calls == nth and kill_at == "rename":
                raise Killed
            result = real(*arguments)
            if calls == nth:
                raise Killed
            return result

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed) if kill_at == "rename" else patch.setattr(
                store_module, "salvage", killed
            )
            try:
                Store(directory, durable=False).__enter__().__exit__()
            except Killed:
                pass
        with Store(directory, durable=False) as store:
            assert seqs(store) == list(range(1, COUNT + 1)) and store.journal_id == original_id()
        assert len(list(directory.glob(f"{FILE}.damaged-*"))) == 1


def test_without_room_for_the_new_file_the_damaged_one_stays(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    damage(tmp_path, root_of(healthy(), tmp_path, "streams"))
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "salvage", full)
        for _ in range(2):
            with pytest.raises(Unavailable, match="No space left"):
                Store(tmp_path, durable=False).__enter__()
    with Store(tmp_path, durable=False) as store:
        assert seqs(store) == list(range(1, COUNT + 1))
