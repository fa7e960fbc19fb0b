"""journal's store: kills, full disks, damage, retention."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig.sample_messages import final, id_of
from voicetap.errors import ConfigError, Unavailable
from voicetap_journal.sequencer import Sequencer
from voicetap_journal.service import NEW_FILE_TIMEOUT_S, restore_sequencer
from voicetap_journal.store import CLOCK_SET_S, DELETE_ROWS, FILE, Store, Unwritable


def put(store: Store, *entries, next_seq: int = 0) -> None:
    sequencer = Sequencer(1, 0.0)
    for entry in entries:
        sequencer.add(entry, 0.0)
    store.write(entries, sequencer.streams, next_seq or max(entry.journal_seq for entry in entries) + 1)


def seqs(store: Store, since: int = 0) -> list[int]:
    return [entry.journal_seq for entry in store.read(since, 1000, 1 << 20)]


def test_the_next_instance_reads_what_was_written(tmp_path):
    with Store(tmp_path, durable=True) as store:
        assert store.is_new
        journal_id = store.journal_id
        put(store, final(1, journal_seq=1), final(2, journal_seq=2), final(4))
        put(store, final(4, journal_seq=3))
        put(store, final(7))
        put(store, final(7), next_seq=4)
    with Store(tmp_path, durable=False) as store:
        assert (store.journal_id, store.first_seq, store.next_seq, store.is_new) == (journal_id, 1, 4, False)
        assert store.read(2, 10, 1 << 20) == [final(2, journal_seq=2), final(4, journal_seq=3)]
        assert store.unreleased() == [final(7)]
        assert [store.seq_of(id_of(number)) for number in (2, 7, 9)] == [2, 0, 0]


def test_a_first_entry_that_may_be_older_than_the_file_has_a_short_timeout(tmp_path):
    """The file was lost, and the process with the new one restarted before the timeout of what was in the lost one."""
    sequencer = Sequencer(1, timeout_s=600.0)
    for entry in (final(1), final(2, source="hall")):
        sequencer.add(entry, 0.0)
    with Store(tmp_path, durable=False) as store:
        store.write([*sequencer.release(0.0), final(2, source="hall")], sequencer.streams, sequencer.next_seq)
    with Store(tmp_path, durable=False) as store:
        streams = restore_sequencer(store, timeout_s=600.0).streams
    timeouts = {source: stream.timeout_s for (source, _), stream in streams.items()}
    assert timeouts == {"mic": 600.0, "hall": NEW_FILE_TIMEOUT_S}


def test_the_file_is_private_and_alone_after_a_clean_end(tmp_path):
    old = os.umask(0o022)
    try:
        with Store(tmp_path / "new", durable=False) as store:
            put(store, final(1, journal_seq=1))
            assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
            assert not (tmp_path / "new" / f"{FILE}-shm").exists()
    finally:
        os.umask(old)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_an_answer_is_bounded_in_entries_and_bytes_but_never_empty(tmp_path):
    with Store(tmp_path, durable=False) as store:
        put(store, *(final(number, "x" * 1000, journal_seq=number) for number in range(1, 21)))
        assert len(store.read(1, 7, 1 << 20)) == 7
        assert len(store.read(1, 100, 5000)) in (3, 4)
        assert len(store.read(1, 100, 1)) == 1
        assert store.read(21, 100, 1 << 20) == [] == store.read(2**64, 100, 1)
        assert seqs(store, since=-5)[0] == 1


WRITER = """
import sys
from pathlib import Path
from rig.sample_messages import final
from voicetap_journal.sequencer import Sequencer
from voicetap_journal.store import Store
sequencer = Sequencer(1, 0.0)
with Store(Path(sys.argv[1]), durable=True) as store:
    for number in range(1, 100_000):
        sequencer.add(final(number), 0.0)
        store.write(sequencer.release(0.0), sequencer.streams, sequencer.next_seq)
        print(number, flush=True)
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_reported(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    for attempt in range(4):
        directory = tmp_path / str(attempt)
        command = [sys.executable, "-c", WRITER, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
            for _ in range(1 + 7 * attempt):
                writer.stdout.readline()
            time.sleep(0.001 * attempt)
            writer.kill()
            reported = 1 + 7 * attempt + len(writer.stdout.readlines())
        with Store(directory, durable=True) as store:
            found = seqs(store)
            assert found == list(range(1, len(found) + 1)) and len(found) >= reported
            assert store.next_seq == len(found) + 1


@pytest.fixture
def small(tmp_path):
    """A store on a disk that is full after some twenty entries."""
    with Store(tmp_path, durable=False) as store:
        put(store, final(1, journal_seq=1))
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        yield store


def test_a_write_to_a_full_disk_changes_nothing_and_may_be_retried(small):
    with pytest.raises(Unwritable, match="full"):
        put(small, *(final(number, "x" * 5000, journal_seq=number) for number in range(2, 30)))
    assert seqs(small) == [1] and small.next_seq == 2
    small._db.execute("PRAGMA max_page_count = 100000")
    put(small, *(final(number, "x" * 5000, journal_seq=number) for number in range(2, 30)))
    assert seqs(small) == list(range(1, 30))


def test_a_store_opens_on_a_full_disk(tmp_path, monkeypatch):
    def connect_to_a_full_disk(*arguments, **more):
        database = sqlite3.Connection(*arguments, **more)
        database.execute("PRAGMA max_page_count = 2")
        return database

    monkeypatch.setattr(sqlite3, "connect", connect_to_a_full_disk)
    with Store(tmp_path, durable=False) as store:
        journal_id = store.journal_id
        for _ in range(2):
            with pytest.raises(Unwritable):
                put(store, final(1, journal_seq=1))
            assert seqs(store) == [] and store.unreleased() == [] and store.seq_of(id_of(1)) == 0
        store._db.execute("PRAGMA max_page_count = 1000")
        put(store, final(1, journal_seq=1))
        assert seqs(store) == [1]
    with Store(tmp_path, durable=False) as store:
        assert store.journal_id == journal_id


def test_a_journal_without_entries_keeps_its_id(tmp_path):
    with Store(tmp_path, durable=False) as store:
        journal_id = store.journal_id
    with Store(tmp_path, durable=False) as store:
        assert store.journal_id == journal_id and store.is_new


@pytest.mark.parametrize("damage", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside(tmp_path, damage, caplog):
    with Store(tmp_path, durable=False) as store:
        put(store, final(1, journal_seq=1))
        journal_id = store.journal_id
    (tmp_path / FILE).write_bytes(damage)
    with Store(tmp_path, durable=False) as store:
        assert store.journal_id != journal_id and store.is_new and store.first_seq == store.next_seq == 1
        put(store, final(1, journal_seq=1))
    [aside] = tmp_path.glob(f"{FILE}.damaged-*")
    assert aside.read_bytes() == damage
    assert "damaged" in caplog.text and aside.name in caplog.text


def test_a_newer_file_is_not_touched(tmp_path):
    with Store(tmp_path, durable=False) as store:
        put(store, final(1, journal_seq=1))
        store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer"):
        Store(tmp_path, durable=False).__enter__()


def test_a_locked_or_impossible_file_is_one_line(tmp_path):
    with Store(tmp_path, durable=False) as store:
        put(store, final(1, journal_seq=1))
        with pytest.raises(Unavailable, match="locked"):
            Store(tmp_path, durable=False).__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="data_dir"):
        Store(tmp_path / "file" / "below", durable=True).__enter__()


def aged(tmp_path, stored_s: int, count: int = 120) -> None:
    with Store(tmp_path, durable=False) as store:
        put(store, final(count + 1), *(final(number, journal_seq=number) for number in range(1, count + 1)))
        store._db.execute("UPDATE entries SET stored_s = ?", (stored_s,))
        store._db.execute(
            "UPDATE entries SET stored_s = ? WHERE journal_seq > ?", (int(time.time_ns() / 1e9), count - 5)
        )


def test_old_entries_are_deleted_in_batches_and_never_one_that_waits(tmp_path):
    aged(tmp_path, stored_s=int(time.time_ns() / 1e9) - 2 * 86_400)
    with Store(tmp_path, durable=False) as store:
        store.delete_expired(max_age_days=3, max_mb=0)
        assert store.first_seq == 1
        store.delete_expired(max_age_days=0, max_mb=0)
        assert store.first_seq == 1
        store.delete_expired(max_age_days=1, max_mb=0)
        assert store.first_seq == DELETE_ROWS + 1 == seqs(store)[0]
        for _ in range(5):
            store.delete_expired(max_age_days=1, max_mb=0)
        assert seqs(store) == [116, 117, 118, 119, 120] and store.first_seq == 116
        assert store.unreleased() == [final(121)]
        store.delete_expired(max_age_days=1e-9, max_mb=0)
    with Store(tmp_path, durable=False) as store:
        assert store.next_seq == 121, "numbering continues even if nothing is left"


def test_a_machine_without_a_clock_keeps_what_it_wrote_in_1970(tmp_path):
    aged(tmp_path, stored_s=CLOCK_SET_S - 1)
    with Store(tmp_path, durable=False) as store:
        store.delete_expired(max_age_days=1, max_mb=0)
        assert store.first_seq == 1


def test_a_large_file_loses_its_oldest_entries_for_good(tmp_path):
    with Store(tmp_path, durable=False) as store:
        put(store, *(final(number, f"secret{number} " * 100, journal_seq=number) for number in range(1, 301)))
        for _ in range(10):
            store.delete_expired(max_age_days=0, max_mb=0.2)
        assert 100 < store.first_seq < 300 and seqs(store)[-1] == 300
    content = (tmp_path / FILE).read_bytes()
    assert b"secret3 " not in content and b"secret300 " in content


def test_the_file_is_plain_sqlite(tmp_path):
    with Store(tmp_path, durable=False) as store:
        put(store, final(1, journal_seq=1))
    database = sqlite3.connect(tmp_path / FILE)
    assert database.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
