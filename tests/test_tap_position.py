"""Durable taps: whoever reads one, and however it ends, misses nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.journal import FakeJournal, collect, collect_seqs, connect, connected, numbers
from rig.processes import eventually
from rig.sample_messages import final, interim
from voicetap import Tap, links
from voicetap.bus import Bus, Sender
from voicetap.errors import AddressInUse, SettingsError, Unavailable
from voicetap.settings import Settings
from voicetap.tap_position import Position, PositionStore, directory

JOURNAL = "voicetap_journal"
NAME = "notes"
READER = """
import sys
from voicetap import Tap
with Tap(durable="notes") as tap:
    for entry in tap:
        print(entry.journal_seq, flush=True)
        sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return directory()


@pytest.fixture
def results(settings: Settings) -> Iterator[Sender]:
    with Bus("vad", settings) as bus:
        yield bus.sender(links.RESULTS)


@pytest.fixture
def fake(settings: Settings) -> Iterator[FakeJournal]:
    with Bus("journal", settings) as bus:
        yield FakeJournal(bus)


def test_it_goes_on_with_what_was_not_done_with(spawn, settings, results):
    spawn(JOURNAL)
    with Tap(durable=NAME, settings=settings) as tap:
        for number in range(1, 6):
            results.send(final(number))
        assert numbers(collect(tap, 2)) == [1, 2] and tap.next_seq == 3
    with Tap(durable=NAME, settings=settings) as tap:
        assert numbers(collect(tap, 4)) == [2, 3, 4, 5], "2 was in hand when the first reader ended"
        assert tap.next(timeout_s=0.1) is None
    with Tap(durable=NAME, settings=settings) as tap, Tap(durable="other", settings=settings) as other:
        assert numbers(collect(other, 5)) == [1, 2, 3, 4, 5]
        assert connected(tap).next(timeout_s=0.1) is None
        results.send(interim(6, 1))
        results.send(final(6))
        assert numbers(collect(tap, 1)) == [6]


def test_a_reader_killed_at_any_entry_misses_none(spawn, settings, results, runtime_dir):
    spawn(JOURNAL)
    with Tap(since=1, settings=settings) as tap:
        for number in range(1, 10):
            results.send(final(number))
        collect(tap, 9)
    read = []
    for count in (1, 3, 2, 4):
        with subprocess.Popen(
            [sys.executable, "-c", READER],
            env=os.environ | {"VOICETAP_RUNTIME_DIR": str(runtime_dir)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as reader:
            for number in range(count):
                if number:
                    reader.stdin.write("\n"), reader.stdin.flush()
                read.append(int(reader.stdout.readline()))
            reader.kill()
    assert read == [1, 1, 2, 3, 3, 4, 4, 5, 6, 7], "the one in hand comes again, and nothing else"


def test_history_too_is_remembered(fake, settings):
    fake.publish(3, lose=True)
    with Tap(durable=NAME, settings=settings) as tap:
        connect(tap, fake)
        assert collect_seqs(tap, fake, 3) == [1, 2, 3]
        assert tap.next(timeout_s=0) is None
    assert _remembered() == Position("one", 4)


def test_another_journal_is_read_from_its_start_and_nothing_twice(fake, settings):
    _remember(Position("older", 3))
    with Tap(durable=NAME, settings=settings) as tap, Bus("app", settings) as bus:
        commits = bus.receiver(links.TRANSCRIPT, ("transcript.final/",))
        fake.publish(5)
        eventually(lambda: fake.transcript.send(final(5, journal_seq=5)) and list(commits), 5, "a subscriber")
        assert tap.next(timeout_s=0.1) is None, "before journal said who it is"
        fake.publish_head()
        assert collect_seqs(tap, fake, 5) == [1, 2, 3, 4, 5]
        assert tap.next(timeout_s=0.1) is None
    assert _remembered() == Position("one", 6)


def test_since_counts_the_first_time(fake, settings):
    fake.publish(5, lose=True)
    for expected in (4, 5):
        with Tap(since=4, durable=NAME, settings=settings) as tap:
            eventually(
                lambda tap=tap: fake.publish_head() or fake.answer_requests() or tap.next(timeout_s=0), 5, "an entry"
            )
            assert tap.next_seq == expected + 1
            tap.next(timeout_s=0)


def test_one_reader_per_name(settings, taps):
    with (
        Tap(durable=NAME, settings=settings),
        pytest.raises(AddressInUse, match=f"notes is read already, by process {os.getpid()}"),
    ):
        Tap(durable=NAME, settings=settings)
    Tap(durable=NAME, settings=settings).close()
    assert not list(taps.iterdir())


@pytest.mark.parametrize("name", ["../notes", "my notes", "x" * 65, ".", "nötes"])
def test_a_name_is_a_name(settings, name):
    with pytest.raises(SettingsError, match="is not a name"):
        Tap(durable=name, settings=settings)


def test_a_place_that_cannot_be_had_is_one_line(settings, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="Not a directory; set XDG_STATE_HOME"):
        Tap(durable=NAME, settings=settings)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Tap(durable=NAME, settings=settings).close()
    assert directory() == tmp_path / "home/.local/state/voicetap/taps"
    assert directory().stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_said_and_forgets_nothing(fake, settings, taps):
    fake.publish(2, lose=True)
    with Tap(durable=NAME, settings=settings) as tap:
        connect(tap, fake)
        assert collect_seqs(tap, fake, 1) == [1]
        (taps / "notes.new").mkdir()  # as good as a full disk
        with pytest.raises(Unavailable, match="notes"):
            tap.next(timeout_s=0)
        (taps / "notes.new").rmdir()
        assert collect_seqs(tap, fake, 1) == [2]
    assert _remembered() == Position("one", 2)


def test_a_damaged_memory_begins_with_the_oldest(taps, caplog):
    _remember(Position("one", 2))
    (taps / NAME).write_bytes(b"\xff\x00 torn")
    assert _remembered() is None
    assert "is damaged" in caplog.text


def _remember(position: Position) -> None:
    memory = PositionStore(NAME)
    memory.save(position)
    memory.close()


def _remembered() -> Position | None:
    memory = PositionStore(NAME)
    memory.close()
    return memory.load()
