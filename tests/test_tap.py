"""The Tap: each entry once and in order, whatever happens to journal or to the messages."""

import dataclasses
import threading
from collections.abc import Iterator

import pytest

from rig.journal import FakeJournal, collect, collect_seqs, connect, connected, numbers
from rig.processes import output_of
from rig.sample_messages import final, id_of, interim, started
from voicetap import Tap, links
from voicetap.bus import Bus, Sender
from voicetap.errors import SettingsError
from voicetap.messages import Final, Interim, SpeechStarted
from voicetap.settings import Settings

JOURNAL = "voicetap_journal"


@pytest.fixture
def results(settings: Settings) -> Iterator[Sender]:
    with Bus("vad", settings) as bus:
        yield bus.sender(links.RESULTS)


def test_live_entries_come_in_order_and_a_later_tap_replays_them(spawn, settings, results):
    spawn(JOURNAL)
    with Tap(settings=settings) as tap:
        connected(tap)
        for number in (3, 1, 2, 2, 4):
            results.send(final(number))
        assert [entry.journal_seq for entry in collect(tap, 4)] == [1, 2, 3, 4] and tap.next_seq == 5
        assert tap.next(timeout_s=0.1) is None
        with Tap(since=1, settings=settings) as late, Tap(since=tap.next_seq, settings=settings) as later:
            assert numbers(collect(late, 4)) == [1, 2, 3, 4]
            connected(later)
            results.send(final(5))
            assert numbers(collect(later, 1)) == [5] == numbers(collect(late, 1))
        with Tap(settings=settings) as now:
            connected(now)
            results.send(final(6))
            assert numbers(collect(now, 1)) == [6]
        assert numbers(collect(tap, 2)) == [5, 6]


def test_a_long_history_is_replayed_while_more_is_said(spawn, settings, results):
    spawn(JOURNAL)
    for number in range(1, 801):
        assert results.send(final(number, "x" * 1000))
    with Tap(since=1, settings=settings) as tap:
        first = collect(tap, 100)
        for number in range(801, 1001):
            assert results.send(final(number))
        assert numbers(first + collect(tap, 900)) == list(range(1, 1001))
    with Tap(since=1, settings=settings) as tap:
        assert numbers(list(tap.history())) == list(range(1, 1001))


def test_a_tap_that_slept_through_more_than_its_queue_misses_nothing(spawn, settings, results):
    spawn(JOURNAL)
    with Tap(settings=settings) as tap:
        connected(tap)
        sent = 0
        with Bus("app", settings) as bus:
            commits = bus.receiver(links.COMMITS)
            while sent < 2500:
                sent += results.send(final(sent + 1))
                list(commits)
        assert numbers(collect(tap, 2500)) == list(range(1, 2501))


def test_journal_dies_and_comes_back_under_an_iterating_tap(spawn, settings, results):
    process = spawn(JOURNAL)
    stop, heard = threading.Event(), []

    def said_again_until_heard() -> None:
        """What vad's outbox does: everything that may be lost, again."""
        with Bus("vad", settings) as bus:
            again, number = bus.sender(links.RESULTS), 0
            while not stop.wait(0.02):
                number += 1
                for repeat in range(max(1, number - 60), number + 1):
                    again.send(final(repeat))

    with Tap(since=1, settings=settings) as tap:
        speaker = threading.Thread(target=said_again_until_heard)
        speaker.start()
        try:
            for entry in tap:
                heard.append(entry)
                if len(heard) in (10, 30):
                    process.kill()
                    process.wait()
                    process = spawn(JOURNAL)
                if len(heard) == 60:
                    break
        finally:
            stop.set()
            speaker.join()
    assert numbers(heard) == list(range(1, 61)) == [entry.journal_seq for entry in heard]


def test_a_new_journal_is_read_from_its_start(spawn, settings, results, runtime_dir):
    process = spawn(JOURNAL)
    with Tap(since=1, settings=settings) as tap:
        for number in (1, 2, 3):
            results.send(final(number))
        collect(tap, 3)
        old = tap.journal_id
        process.kill()
        process.wait()
        (runtime_dir / "journal.sqlite").write_bytes(b"lost its mind" * 1000)
        (runtime_dir / "journal.sqlite-wal").unlink()
        spawn(JOURNAL)
        results.send(final(1, stream="new"))
        [entry] = collect(tap, 1)
        assert (entry.utterance_id, entry.journal_seq) == (id_of(1, stream="new"), 1)
        assert connected(tap).journal_id != old and tap.next_seq == 2
    with Tap(since=400, settings=settings) as tap:
        assert numbers(collect(tap, 1)) == [1], "400 was of another journal"
    assert "damaged" in output_of(JOURNAL, runtime_dir)


def test_source_means_that_source_and_not_those_that_begin_like_it(spawn, settings, results):
    spawn(JOURNAL)
    with Tap(settings=settings, source="hall", interims=True, events=True) as tap:
        connected(tap)
        for source in ("hallway", "hall", "mic"):
            results.send(started(1, source))
            results.send(interim(1, 1, source))
            results.send(final(1, source=source))
        heard = collect(tap, 3)
        assert [type(message) for message in heard] == [SpeechStarted, Interim, Final]
        assert {message.source for message in heard} == {"hall"}
        assert tap.next(timeout_s=0.1) is None


def test_words_while_they_are_spoken_only_for_those_who_want_them(spawn, settings, results):
    spawn(JOURNAL)
    with Tap(settings=settings) as plain, Tap(settings=settings, interims=True) as tap:
        connected(plain), connected(tap)
        for message in (started(1), interim(1, 1), interim(1, 2), final(1)):
            results.send(message)
        assert [type(message) for message in collect(tap, 3)] == [Interim, Interim, Final]
        assert numbers(collect(plain, 1)) == [1]


@pytest.fixture
def fake(settings) -> Iterator[FakeJournal]:
    with Bus("journal", settings) as bus:
        yield FakeJournal(bus)


def test_a_jump_is_refilled(fake, settings):
    with Tap(settings=settings) as tap:
        connect(tap, fake)
        fake.publish(2)
        fake.publish(3, lose=True)
        fake.publish(2)
        assert collect_seqs(tap, fake, 7) == [1, 2, 3, 4, 5, 6, 7]
        assert [request.since for request in fake.history_requests] == [3] and tap.missed == 3


def test_a_lost_tail_is_noticed_by_the_head(fake, settings):
    with Tap(settings=settings) as tap:
        connect(tap, fake)
        fake.publish(2, lose=True)
        fake.publish_head()
        assert collect_seqs(tap, fake, 2) == [1, 2]


def test_what_retention_deleted_is_passed_over(fake, settings):
    fake.publish(20, lose=True)
    fake.first_seq = 11
    with Tap(since=1, settings=settings) as tap:
        connect(tap, fake)
        assert collect_seqs(tap, fake, 10) == list(range(11, 21))


def test_what_a_power_cut_took_is_heard_again(fake, settings):
    with Tap(settings=settings) as tap:
        connect(tap, fake)
        fake.publish(5)
        assert collect_seqs(tap, fake, 5) == [1, 2, 3, 4, 5]
        fake.next_seq = 4  # the last two were not on the disk yet
        fake.publish_head()
        fake.publish(3)
        assert collect_seqs(tap, fake, 3) == [4, 5, 6]


def test_the_last_words_of_a_journal_that_was_restarted_change_nothing(fake, settings):
    """They may come over their own connection, after those of its successor."""
    with Tap(settings=settings) as tap:
        connect(tap, fake)
        for fake.boot_id in ("b1", "b2"):
            fake.publish_head()
        fake.publish(5)
        assert collect_seqs(tap, fake, 5) == [1, 2, 3, 4, 5]
        fake.boot_id, fake.next_seq = "b1", 3
        fake.publish_head()
        fake.boot_id, fake.next_seq = "b2", 6
        fake.publish(1)
        assert collect_seqs(tap, fake, 1) == [6]


def test_what_journal_could_not_store_yet_is_heard_once(fake, settings):
    with Tap(settings=settings) as tap:
        connect(tap, fake)
        fake.publish(1)
        for number in (2, 3, 2):
            fake.transcript.send(final(number))
        assert collect_seqs(tap, fake, 3) == [1, 0, 0]
        fake.publish(3)  # 2 and 3 again, stored now
        assert numbers(collect(tap, 1)) == [4] and tap.next_seq == 5


def test_history_without_a_journal_says_so(settings):
    with Tap(since=1, settings=settings) as tap, pytest.raises(TimeoutError, match="journal"):
        list(tap.history(timeout_s=0.2))


def test_a_tap_that_cannot_be_made_leaves_nothing_open(settings):
    far = dataclasses.replace(settings, addresses=("history=tcp://192.0.2.1:9",))
    with pytest.raises(SettingsError, match="curve_dir"):
        Tap(settings=far)


def test_a_tap_may_be_closed_twice(settings):
    tap = Tap(settings=settings)
    tap.close()
    tap.close()


def test_a_history_without_since_is_empty_and_ends(spawn, settings, results):
    spawn(JOURNAL)
    results.send(final(1))
    with Tap(since=1, settings=settings) as tap:
        collect(tap, 1)
    with Tap(settings=settings) as tap:
        assert list(tap.history()) == []
