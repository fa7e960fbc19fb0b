"""A journal that does what it is told, and what a test wants of the taps that read it or a real one."""

import time

from rig.sample_messages import final
from voicetap import Tap, links
from voicetap.bus import Bus
from voicetap.messages import HistoryEnd, HistoryRequest, JournalHead

PATIENCE_S = 10.0


def take(tap: Tap, count: int) -> list:
    """`count` messages, or a failure within 10 s."""
    deadline_s = time.monotonic() + PATIENCE_S
    taken = []
    while len(taken) < count:
        assert time.monotonic() < deadline_s, f"{len(taken)} of {count}: {taken}"
        if (heard := tap.next(timeout_s=1.0)) is not None:
            taken.append(heard)
    return taken


def numbers(entries: list) -> list[int]:
    return [entry.utterance_id.number for entry in entries]


def connected(tap: Tap) -> Tap:
    """It has heard journal's head, so whatever comes now is for it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not tap.journal_id:
        assert time.monotonic() < deadline_s, "no head"
        assert tap.next(timeout_s=0.05) is None
    return tap


class FakeJournal:
    """A journal that does what it is told: loses messages, deletes entries."""

    def __init__(self, bus: Bus):
        self.transcript = bus.sender(links.TRANSCRIPT)
        self.requests = bus.receiver(links.HISTORY)
        self.first_seq, self.next_seq, self.journal_id, self.boot_id = 1, 1, "one", ""
        self.asked: list[HistoryRequest] = []

    def head(self) -> None:
        head = JournalHead(journal_id=self.journal_id, first_seq=1, next_seq=self.next_seq, boot_id=self.boot_id)
        self.transcript.send(head)

    def say(self, count: int, lose: bool = False) -> None:
        for _ in range(count):
            if not lose:
                self.transcript.send(final(self.next_seq, journal_seq=self.next_seq))
            self.next_seq += 1

    def answer(self) -> None:
        for request in self.requests:
            self.asked.append(request)
            topic = f"history/{request.requester}"
            end = min(request.since + request.limit, self.next_seq)
            for seq in range(max(self.first_seq, request.since), end):
                self.transcript.send(final(seq, journal_seq=seq), topic)
            ends = {"first_seq": self.first_seq, "next_seq": end, "head_seq": self.next_seq}
            self.transcript.send(HistoryEnd(requester=request.requester, journal_id=self.journal_id, **ends), topic)


def hear(tap: Tap, fake: FakeJournal, count: int) -> list[int]:
    heard, deadline_s = [], time.monotonic() + PATIENCE_S
    while len(heard) < count and time.monotonic() < deadline_s:
        fake.answer()
        if (entry := tap.next(timeout_s=0.01)) is not None:
            heard.append(entry.journal_seq)
    return heard


def meet(tap: Tap, fake: FakeJournal) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not tap.journal_id and time.monotonic() < deadline_s:
        fake.head()
        tap.next(timeout_s=0.01)
