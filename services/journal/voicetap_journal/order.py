"""In which order entries are published: pure, no socket, no clock, no file.

Numbers of a stream are without a hole, but results come as they are ready. An entry waits for those before it,
at most `wait_s`; what comes after that is published when it comes.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from voicetap.codec import UtteranceId
from voicetap.messages import Entry

MAX_WAITING = 1000  # entries of one stream; beyond it nobody believes in the missing one any more


@dataclass
class Stream:
    """How far one stream is: everything before `next_number` is out, but for what is `missing`."""

    next_number: int = 1
    missing: list[range] = field(default_factory=list)
    wait_s: float = 0.0
    waiting: dict[int, tuple[Entry, float]] = field(default_factory=dict)  # and when it came

    def knows(self, number: int) -> bool:
        return number in self.waiting or (
            number < self.next_number and not any(number in numbers for numbers in self.missing)
        )

    def complete_to(self) -> int:
        """The number up to which every entry has come; 0 is none."""
        return min((numbers.start for numbers in self.missing), default=self.next_number) - 1

    def highest(self) -> int:
        """The highest number of which an entry has come; 0 is none."""
        return max([self.next_number - 1, *self.waiting])

    def take(self, entry: Entry, now_s: float) -> None:
        number = entry.utterance_id.number
        self.waiting[number] = entry, now_s
        self.missing = [part for numbers in self.missing for part in _without(numbers, number)]

    def release(self, now_s: float) -> Iterable[Entry]:
        """What need not wait any longer, in order; late ones first."""
        for number in sorted(number for number in self.waiting if number < self.next_number):
            yield self.waiting.pop(number)[0]
        while self.waiting:
            if self.next_number not in self.waiting and not self._give_up(now_s):
                return
            yield self.waiting.pop(self.next_number)[0]
            self.next_number += 1

    def _give_up(self, now_s: float) -> bool:
        """Passes over missing numbers if somebody has waited long enough for them."""
        oldest_s = min(came_s for _, came_s in self.waiting.values())
        if now_s - oldest_s < self.wait_s and len(self.waiting) <= MAX_WAITING:
            return False
        first = min(self.waiting)
        self.missing.append(range(self.next_number, first))
        self.next_number = first
        return True


class Order:
    """Gives each entry its `journal_seq`, once, in the order of numbers within its stream."""

    def __init__(self, next_seq: int, wait_s: float):
        self.next_seq = next_seq
        self.streams: dict[tuple[str, str], Stream] = {}
        self._wait_s = wait_s

    def restore(self, source: str, stream: str, next_number: int, missing: Iterable[range]) -> None:
        """A stream as the last instance left it."""
        self.streams[source, stream] = Stream(next_number, list(missing), self._wait_s)

    def knows(self, utterance_id: UtteranceId) -> bool:
        """Whether an entry of this id was taken."""
        stream = self.streams.get(utterance_id[:2])
        return bool(stream and stream.knows(utterance_id.number))

    def take(self, entry: Entry, now_s: float) -> bool:
        """False if it was taken before."""
        if self.knows(entry.utterance_id):
            return False
        key = entry.utterance_id[:2]
        stream = self.streams.pop(key, None) or Stream(wait_s=self._wait_s)
        self.streams[key] = stream  # at the end: the latest is the last
        stream.take(entry, now_s)
        return True

    def release(self, now_s: float) -> list[Entry]:
        """The entries whose turn has come, with their `journal_seq`."""
        released = []
        for stream in self.streams.values():
            for entry in stream.release(now_s):
                released.append(dataclasses.replace(entry, journal_seq=self.next_seq))
                self.next_seq += 1
        return released

    def stop_waiting(self) -> None:
        """What is missing now will not come any more."""
        for stream in self.streams.values():
            stream.wait_s = 0.0

    def waiting(self) -> int:
        return sum(len(stream.waiting) for stream in self.streams.values())


def _without(numbers: range, number: int) -> list[range]:
    if number not in numbers:
        return [numbers]
    return [part for part in (range(numbers.start, number), range(number + 1, numbers.stop)) if part]
