"""The order in which entries are published. Pure: no socket, no clock, no file.

The numbers of a stream have no gaps, but results arrive out of order. An entry waits for those before it, at most
`timeout_s`. Entries that arrive later than that are published when they arrive.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from voicetap.codec import UtteranceId
from voicetap.messages import Entry

MAX_WAITING = 1000  # entries of one stream; with more waiting, the missing ones count as lost


@dataclass
class StreamSequence:
    """The progress of one stream: all entries before `next_number` are released, except those `missing`."""

    next_number: int = 1
    missing: list[range] = field(default_factory=list)
    timeout_s: float = 0.0
    waiting: dict[int, tuple[Entry, float]] = field(default_factory=dict)  # by number: the entry and received_s

    def contains(self, number: int) -> bool:
        """Whether an entry of this number was added."""
        return number in self.waiting or (
            number < self.next_number and not any(number in numbers for numbers in self.missing)
        )

    def complete_to(self) -> int:
        """The number up to which all entries were added and released; 0 if none."""
        return min((numbers.start for numbers in self.missing), default=self.next_number) - 1

    def highest(self) -> int:
        """The highest number that was added; 0 if none."""
        return max([self.next_number - 1, *self.waiting])

    def add(self, entry: Entry, now_s: float) -> None:
        number = entry.utterance_id.number
        self.waiting[number] = entry, now_s
        self.missing = [part for numbers in self.missing for part in _without(numbers, number)]

    def release(self, now_s: float) -> Iterable[Entry]:
        """Removes and yields the entries that need not wait any longer: late ones first, then in order."""
        for number in sorted(number for number in self.waiting if number < self.next_number):
            yield self.waiting.pop(number)[0]
        while self.waiting:
            if self.next_number not in self.waiting and not self._skip_missing(now_s):
                return
            yield self.waiting.pop(self.next_number)[0]
            self.next_number += 1

    def _skip_missing(self, now_s: float) -> bool:
        """Skips the missing numbers before the first waiting one. False before the timeout of the oldest entry."""
        oldest_s = min(received_s for _, received_s in self.waiting.values())
        if now_s - oldest_s < self.timeout_s and len(self.waiting) <= MAX_WAITING:
            return False
        first = min(self.waiting)
        self.missing.append(range(self.next_number, first))
        self.next_number = first
        return True


class Sequencer:
    """Gives each entry its `journal_seq`, once, in the order of numbers within its stream."""

    def __init__(self, next_seq: int, timeout_s: float):
        self.next_seq = next_seq
        self.streams: dict[tuple[str, str], StreamSequence] = {}  # by (source, stream); the latest active is last
        self._timeout_s = timeout_s

    def restore(self, source: str, stream: str, next_number: int, missing: Iterable[range]) -> None:
        """Adds a stream in the state that the previous instance stored."""
        self.streams[source, stream] = StreamSequence(next_number, list(missing), self._timeout_s)

    def contains(self, utterance_id: UtteranceId) -> bool:
        """Whether an entry of this id was added."""
        stream = self.streams.get(utterance_id[:2])
        return bool(stream and stream.contains(utterance_id.number))

    def add(self, entry: Entry, now_s: float) -> bool:
        """False if it was added before."""
        if self.contains(entry.utterance_id):
            return False
        key = entry.utterance_id[:2]
        stream = self.streams.pop(key, None) or StreamSequence(timeout_s=self._timeout_s)
        self.streams[key] = stream
        stream.add(entry, now_s)
        return True

    def release(self, now_s: float) -> list[Entry]:
        """The entries to publish now, with their `journal_seq`."""
        released = []
        for stream in self.streams.values():
            for entry in stream.release(now_s):
                released.append(dataclasses.replace(entry, journal_seq=self.next_seq))
                self.next_seq += 1
        return released

    def expire_missing(self) -> None:
        """From now on `release` skips missing entries at once."""
        for stream in self.streams.values():
            stream.timeout_s = 0.0

    def waiting(self) -> int:
        return sum(len(stream.waiting) for stream in self.streams.values())


def _without(numbers: range, number: int) -> list[range]:
    if number not in numbers:
        return [numbers]
    return [part for part in (range(numbers.start, number), range(number + 1, numbers.stop)) if part]
