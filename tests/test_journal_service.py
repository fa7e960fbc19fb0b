"""journal as a real process, between a vad, a worker and an app played by the test."""

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from rig.disk import fill
from rig.processes import eventually, output_of
from rig.sample_messages import failed, final, gap, id_of, interim, started
from voicetap import Tap, links
from voicetap.bus import Bus, Receiver
from voicetap.links import Link
from voicetap.messages import (
    Committed,
    Failed,
    Final,
    Gap,
    Heartbeat,
    HistoryEnd,
    HistoryRequest,
    Interim,
    JournalHead,
    SpeechStarted,
    Status,
)

MODULE = "voicetap_journal"
BEAT = links.HEARTBEAT.of("journal")


class FakeNeighbour:
    """vad, a worker and an app in one. Keeps all received messages."""

    def __init__(self, bus: Bus, reads: tuple[Link, ...] = (links.COMMITS, links.TRANSCRIPT, BEAT)):
        self.bus = bus
        self.results = bus.sender(links.RESULTS)
        self.requests = bus.sender(links.HISTORY)
        self._receivers = [bus.receiver(link) for link in reads]
        self.received: list[object] = []
        self._silent: set[Receiver] = set()

    def send(self, *messages: object) -> None:
        for message in messages:
            assert self.results.send(message)

    def poll(self) -> list[object]:
        for receiver in self._receivers:
            messages = list(receiver)
            self.received += messages
            self._silent -= {receiver} if messages else set()
        return self.received

    def of(self, *kinds: type) -> list:
        return [message for message in self.poll() if type(message) in kinds]

    def wait_for(self, condition: Callable[[], object], what: str, within_s: float = 5.0) -> object:
        return eventually(condition, within_s, what)

    def entries(self) -> list[tuple[int, int]]:
        """(number, journal_seq) of all published entries."""
        return [(entry.utterance_id.number, entry.journal_seq) for entry in self.of(Final, Failed, Gap)]

    def committed(self) -> set[int]:
        return {message.utterance_id.number for message in self.of(Committed)}

    def history(self, since: int = 1) -> list[tuple[int, int]]:
        """(number, journal_seq) of the answer to one request."""
        before, ends = len(self.entries()), len(self.of(HistoryEnd))
        self.requests.send(HistoryRequest(requester="me", since=since, limit=500))
        self.wait_for(lambda: len(self.of(HistoryEnd)) > ends, "an answer")
        answer = self.entries()[before:]
        self.received = [message for message in self.received if not isinstance(message, Final)]
        return answer

    def ready(self) -> None:
        """Waits until every socket is connected: each has received a message after this call."""
        self.poll()
        self._silent = set(self._receivers)
        self.wait_for(lambda: self.poll() and not self._silent, "journal on every link")

    def state(self) -> str:
        beats = self.of(Heartbeat)
        return beats[-1].state if beats else ""


@pytest.fixture
def neighbour(settings) -> Iterator[FakeNeighbour]:
    with Bus("vad", settings) as bus:
        yield FakeNeighbour(bus)


@pytest.fixture
def journal(spawn, neighbour) -> subprocess.Popen:
    process = spawn(MODULE)
    neighbour.ready()
    return process


@pytest.fixture
def quiet_neighbour(settings) -> Iterator[FakeNeighbour]:
    """Does not subscribe to transcripts."""
    with Bus("vad", settings) as bus:
        yield FakeNeighbour(bus, (links.COMMITS, BEAT))


def test_the_head_says_at_once_whether_interims_are_wanted(spawn, quiet_neighbour, settings):
    spawn(MODULE)
    quiet_neighbour.ready()

    def head_is(wanted: bool) -> bool:
        return quiet_neighbour.of(JournalHead)[-1].interims_wanted == wanted

    quiet_neighbour.wait_for(lambda: head_is(False), "no subscriber")
    with Tap(interims=True, settings=settings):
        quiet_neighbour.wait_for(lambda: head_is(True), "a tap")
    quiet_neighbour.wait_for(lambda: head_is(False), "no subscriber any more")
    with Tap(settings=settings):
        quiet_neighbour.received.clear()
        quiet_neighbour.wait_for(lambda: len(quiet_neighbour.of(JournalHead)) > 1, "two heads")
        assert head_is(False), "a subscriber of finals only does not count"


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    assert process.wait(5) == 0


def test_entries_are_published_once_in_order_and_acknowledged(journal, neighbour, runtime_dir):
    neighbour.send(final(3), gap(2), final(3), failed(1), final(1), final(1, source="hall"))
    neighbour.wait_for(lambda: len(neighbour.entries()) == 4 and len(neighbour.of(Committed)) >= 6, "all of it")
    neighbour.ready()
    mic = [message for message in neighbour.of(Final, Failed, Gap) if message.source == "mic"]
    assert [type(message) for message in mic] == [Failed, Gap, Final]
    assert sorted(seq for _, seq in neighbour.entries()) == [1, 2, 3, 4]
    head = neighbour.of(JournalHead)[-1]
    assert head.next_seq == 5 and set(head.committed) == {id_of(3), id_of(1, "hall")}
    stop(journal)
    assert sorted(path.name for path in runtime_dir.iterdir()) == ["journal.sqlite"]
    assert "Traceback" not in output_of(MODULE, runtime_dir)


def test_an_entry_that_waits_for_others_is_committed_at_once_and_published_in_order(journal, neighbour):
    neighbour.send(final(2))
    neighbour.wait_for(lambda: neighbour.committed() == {2}, "2 is committed: its worker may drop it")
    assert neighbour.entries() == [] and neighbour.of(Committed)[0].journal_seq == 0
    neighbour.wait_for(
        lambda: neighbour.of(JournalHead)[-1].highest == (id_of(2),), "for a vad without a segment store"
    )
    assert neighbour.of(JournalHead)[-1].committed == ()
    neighbour.send(final(1))
    neighbour.wait_for(lambda: neighbour.entries() == [(1, 1), (2, 2)], "both, in order")


def test_a_missing_entry_is_skipped_after_the_timeout(spawn, neighbour):
    spawn(MODULE, journal_reorder_timeout_s=0.2)
    neighbour.ready()
    neighbour.send(final(2))
    neighbour.wait_for(lambda: neighbour.entries() == [(2, 1)], "2 without 1")
    neighbour.send(final(1))
    neighbour.wait_for(lambda: neighbour.entries() == [(2, 1), (1, 2)], "1, late but not lost")


def test_live_messages_are_published_until_the_entry_is(journal, neighbour):
    neighbour.send(started(1), interim(1, 1), interim(1, 3), interim(1, 2), final(1))
    neighbour.send(interim(1, 4), started(1), final(2))
    neighbour.wait_for(lambda: len(neighbour.entries()) == 2, "both finals")
    assert [message.revision for message in neighbour.of(Interim)] == [1, 3]
    assert len(neighbour.of(SpeechStarted)) == 1


def test_what_is_published_can_be_shown_on_a_terminal(journal, neighbour):
    neighbour.send(final(1, "\x1b[2Jhello\r\n\x07there"))
    neighbour.wait_for(lambda: neighbour.entries(), "the final")
    assert neighbour.of(Final)[0].text == "[2Jhello there"


def test_kill_9_loses_and_duplicates_nothing(spawn, neighbour):
    process = spawn(MODULE)
    neighbour.ready()
    for life in range(2):
        batch = [final(number) for number in range(life * 20 + 1, life * 20 + 21)]
        neighbour.send(*batch[::-1][:15])  # the first five arrive after the kill
        neighbour.wait_for(lambda: neighbour.committed() >= {batch[-1].utterance_id.number}, "the batch")  # noqa: B023
        process.kill()
        process.wait()
        process = spawn(MODULE)
        neighbour.ready()
        neighbour.send(*batch, *batch)
        everything = set(range(1, life * 20 + 21))
        neighbour.wait_for(lambda: neighbour.committed() >= everything, "every commit")  # noqa: B023
    neighbour.wait_for(lambda: len(neighbour.entries()) == 40, "every entry")
    assert neighbour.entries() == [(number, number) for number in range(1, 41)]
    assert len({head.journal_id for head in neighbour.of(JournalHead)}) == 1


def test_sigterm_receives_what_is_in_transit(journal, neighbour):
    os.kill(journal.pid, signal.SIGSTOP)
    neighbour.send(*(final(number) for number in range(1, 901)))
    time.sleep(0.05)
    os.kill(journal.pid, signal.SIGTERM)
    os.kill(journal.pid, signal.SIGCONT)
    assert journal.wait(5) == 0
    assert neighbour.wait_for(lambda: len(neighbour.entries()) == 900, "all 900")
    assert neighbour.committed() == set(range(1, 901))


def test_history_is_answered_in_bounded_parts(journal, neighbour):
    neighbour.send(*(final(number, "x" * 2000) for number in range(1, 301)))
    neighbour.wait_for(lambda: len(neighbour.entries()) == 300, "the finals")
    neighbour.received.clear()
    for since, limit in ((1, 5), (290, 10**12), (1000, 5), (2**63 + 5, 5), (-4, 1)):
        neighbour.requests.send(HistoryRequest(requester="me", since=since, limit=limit))
        neighbour.wait_for(lambda: neighbour.of(HistoryEnd), "an answer")
        numbers, [end] = [number for number, _ in neighbour.entries()], neighbour.of(HistoryEnd)
        assert numbers == list(range(max(since, 1), 301))[: min(limit, 500)]
        assert (end.first_seq, end.next_seq, end.head_seq) == (1, numbers[-1] + 1 if numbers else 301, 301)
        neighbour.received.clear()
    neighbour.requests.send(HistoryRequest(requester="me", since=1, limit=500))
    neighbour.wait_for(lambda: neighbour.of(HistoryEnd), "an answer")
    assert 50 < neighbour.of(HistoryEnd)[0].next_seq < 200, "256 KiB of it"


def test_a_flood_of_requests_delays_neither_heartbeats_nor_results(journal, neighbour):
    neighbour.send(*(final(number, "x" * 1000) for number in range(1, 501)))
    neighbour.wait_for(lambda: len(neighbour.entries()) == 500, "the finals")
    neighbour.received.clear()
    end_s, asked, number = time.monotonic() + 1.6, 0, 501
    slowest_s = 0.0
    while time.monotonic() < end_s:
        for requester in ("one", "two", "../../three\n", ""):
            asked += neighbour.requests.send(HistoryRequest(requester=requester, since=1, limit=500))
        if asked % 40 < 4:
            sent_s = time.monotonic()
            neighbour.send(final(number))
            neighbour.wait_for(lambda: number in neighbour.committed(), "a commit")  # noqa: B023
            slowest_s, number = max(slowest_s, time.monotonic() - sent_s), number + 1
    beats = neighbour.of(Heartbeat)
    assert asked > 100 and len(beats) >= 3 and beats[-1].drops > 0, "two of the names are invalid"
    assert slowest_s < 0.5


def test_forged_entries_are_refused_and_counted(journal, neighbour, settings):
    neighbour.send(dataclasses.replace(final(1), source="hall"), final(1))
    neighbour.wait_for(lambda: neighbour.entries() == [(1, 1)], "the true one")
    neighbour.wait_for(lambda: neighbour.of(Heartbeat) and neighbour.of(Heartbeat)[-1].drops == 1, "counted")


@pytest.mark.parametrize("stored_before", [0, 1])
def test_a_full_disk_delays_commits_and_nothing_else(spawn, neighbour, small_disk, stored_before):
    process = spawn(MODULE, journal_data_dir=str(small_disk))
    everything = [final(number, "x" * 3000) for number in range(1, 20)]
    numbers = list(range(1, 20))
    neighbour.ready()
    neighbour.send(*everything[:stored_before])
    neighbour.wait_for(lambda: len(neighbour.committed()) == stored_before, "what there is before the disk is full")

    fill(small_disk / "ballast")
    neighbour.send(*everything[::-1])
    neighbour.wait_for(lambda: [number for number, _ in neighbour.entries()] == numbers, "published all the same")
    neighbour.wait_for(lambda: neighbour.state() == "degraded", "degraded")
    assert len(neighbour.committed()) == stored_before, "nothing is acknowledged before it is stored"
    assert neighbour.entries()[stored_before:] == [(number, 0) for number in numbers[stored_before:]], "nor numbered"

    (small_disk / "ballast").unlink()
    neighbour.wait_for(lambda: neighbour.committed() == set(numbers), "stored after all", within_s=3)
    neighbour.wait_for(lambda: neighbour.entries()[-1] == (19, 19), "published with their numbers")
    neighbour.wait_for(lambda: neighbour.state() == "ready", "ready")
    assert [status.state for status in neighbour.of(Status)] == ["degraded", "ready"]
    stop(process)
    spawn(MODULE, journal_data_dir=str(small_disk))
    neighbour.ready()
    assert neighbour.history() == [(number, number) for number in numbers]


def test_an_impossible_directory_is_one_line_and_ex_config(spawn, runtime_dir):
    process = spawn(MODULE, journal_data_dir="/dev/null/here")
    assert process.wait(10) == 78
    assert "journal.data_dir" in output_of(MODULE, runtime_dir) and "Traceback" not in output_of(MODULE, runtime_dir)
