"""A fake journal, and how tests read taps of it or of a real one."""

import time

from rig.sample_messages import final
from voicetap import Tap, links
from voicetap.bus import Bus
from voicetap.messages import HistoryEnd, HistoryRequest, JournalHead

TIMEOUT_S = 10.0


def collect(tap: Tap, count: int) -> list:
    """The next `count` messages. Fails after TIMEOUT_S."""
    deadline_s = time.monotonic() + TIMEOUT_S
    messages = []
    while len(messages) < count:
        assert time.monotonic() < deadline_s, f"{len(messages)} of {count}: {messages}"
        if (message := tap.next(timeout_s=1.0)) is not None:
            messages.append(message)
    return messages


def numbers(entries: list) -> list[int]:
    return [entry.utterance_id.number for entry in entries]


def connected(tap: Tap) -> Tap:
    """Waits for journal's head: the tap misses nothing from then on."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not tap.journal_id:
        assert time.monotonic() < deadline_s, "no head"
        assert tap.next(timeout_s=0.05) is None
    return tap


class FakeJournal:
    """A journal that can lose messages and delete entries."""

    def __init__(self, bus: Bus):
        self.transcript = bus.sender(links.TRANSCRIPT)
        self.requests = bus.receiver(links.HISTORY)
        self.first_seq, self.next_seq, self.journal_id, self.boot_id = 1, 1, "one", ""
        self.history_requests: list[HistoryRequest] = []

    def publish_head(self) -> None:
        head = JournalHead(journal_id=self.journal_id, first_seq=1, next_seq=self.next_seq, boot_id=self.boot_id)
        self.transcript.send(head)

    def publish(self, count: int, lose: bool = False) -> None:
        for _ in range(count):
            if not lose:
                self.transcript.send(final(self.next_seq, journal_seq=self.next_seq))
            self.next_seq += 1

    def answer_requests(self) -> None:
        for request in self.requests:
            self.history_requests.append(request)
            topic = f"history/{request.requester}"
            end = min(request.since + request.limit, self.next_seq)
            for seq in range(max(self.first_seq, request.since), end):
                self.transcript.send(final(seq, journal_seq=seq), topic)
            ends = {"first_seq": self.first_seq, "next_seq": end, "head_seq": self.next_seq}
            self.transcript.send(HistoryEnd(requester=request.requester, journal_id=self.journal_id, **ends), topic)


def collect_seqs(tap: Tap, fake: FakeJournal, count: int) -> list[int]:
    """The journal_seq of the next `count` entries, or fewer after TIMEOUT_S."""
    seqs, deadline_s = [], time.monotonic() + TIMEOUT_S
    while len(seqs) < count and time.monotonic() < deadline_s:
        fake.answer_requests()
        if (entry := tap.next(timeout_s=0.01)) is not None:
            seqs.append(entry.journal_seq)
    return seqs


def connect(tap: Tap, fake: FakeJournal) -> None:
    """Publishes heads until the tap has received one."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not tap.journal_id and time.monotonic() < deadline_s:
        fake.publish_head()
        tap.next(timeout_s=0.01)
