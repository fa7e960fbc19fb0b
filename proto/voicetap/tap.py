"""The Tap: transcripts for any program, each once and in order.

It subscribes first and asks for the history second, so nothing falls between; a jump in `journal_seq`, or a
head beyond the last entry, makes it ask again.
"""

import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

from . import links
from .bus import Bus
from .codec import UtteranceId
from .config import load
from .messages import (
    Entry,
    Failed,
    Final,
    Gap,
    HistoryEnd,
    HistoryRequest,
    Interim,
    JournalHead,
    SpeechStarted,
    SpeechStopped,
    Status,
)
from .settings import Settings
from .tap_position import Memory, Position

HISTORY_LIMIT = 500  # entries per request: bounds what one answer can flood
ASK_AGAIN_S = 0.5
_ENTRIES = (Final, Failed, Gap)
_TOPICS = {
    "finals": ("transcript.final/", "transcript.failed/", "transcript.gap/"),
    "interims": ("transcript.interim/",),
    "events": ("speech.started/", "speech.stopped/", "status/"),
}

Heard = Entry | Interim | SpeechStarted | SpeechStopped | Status


class Tap:
    """Transcripts as they are published. Iterate it; close it, or use it in a `with` block.

    `since`: first replay what journal holds from this `journal_seq` on (1 is the oldest); None starts now.
    `durable`: a name under which this tap remembers how far it is, over its own restarts, journal's and new journals.
    The first time it begins at `since`, or with the oldest entry. Asking for the next entry says that the last one is
    done with: killed before that, the reader gets that one again, and never misses any. One reader per name.
    `interims`, `events`: also the words while they are spoken, and speech and status events.
    `source`: only this one. A plain Tap yields each Final, Failed and Gap once, in order of `journal_seq`; that is 0
    while journal's disk is full. `next_seq` is where a later Tap goes on. Not safe to share between threads.
    """

    def __init__(
        self,
        since: int | None = None,
        *,
        durable: str = "",
        interims: bool = False,
        events: bool = False,
        source: str = "",
        settings: Settings | None = None,
    ):
        self.journal_id = ""
        self._next_seq = since  # to be made ready
        self._memory: Memory | None = None
        self._in_hand: Position | None = None  # after what the reader has now
        self._is_met = False  # journal has said who it is
        self._source = source
        self._name = f"tap-{secrets.token_hex(6)}"
        self._ahead: dict[int, Entry] = {}
        self._early: set[UtteranceId] = set()  # heard before they had a number
        self._ready: deque[tuple[Heard, Position | None]] = deque()
        self._asked_s = 0.0
        self._boots: deque[str] = deque(maxlen=16)  # of journal, in the order they were heard
        self._end_seq: int | None = None  # journal's head in its last answer

        wanted = ["finals", *(["interims"] if interims else []), *(["events"] if events else [])]
        topics = [topic for kind in wanted for topic in _TOPICS[kind]]
        with ExitStack() as stack:  # closes everything if anything below fails
            if durable:
                self._memory = Memory(durable)
                stack.callback(self._memory.close)
                self.journal_id, self._next_seq = self._memory.recall() or Position(next_seq=since or 1)
            self._bus = stack.enter_context(Bus("app", settings or load()))
            self._transcript = self._bus.receiver(links.TRANSCRIPT, (*topics, "journal_head", f"history/{self._name}"))
            self._history = self._bus.sender(links.HISTORY)
            self._stack = stack.pop_all()

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the sockets. May be called again."""
        self._stack.close()

    @property
    def next_seq(self) -> int | None:
        """The `journal_seq` of the entry to come; None before it is known."""
        return next((heard.journal_seq for heard, after in self._ready if after), self._next_seq)

    def __iter__(self) -> Iterator[Heard]:
        """For ever: blocks until there is something to yield."""
        while True:
            if (heard := self.next(timeout_s=1.0)) is not None:
                yield heard

    def next(self, timeout_s: float) -> Heard | None:
        """The next message, or None after `timeout_s` seconds without one."""
        self._finish()
        deadline_s = time.monotonic() + timeout_s
        while not self._ready:
            self._hear()
            if not self._ready and (left_s := deadline_s - time.monotonic()) <= 0:
                return None
            elif not self._ready:
                self._bus.wait(min(left_s, ASK_AGAIN_S))
        return self._hand_out()

    def history(self, patience_s: float = 5.0) -> Iterator[Entry]:
        """The entries from `next_seq` on that journal holds now, and then an end: for a Tap opened with `since`.

        Complete: journal's answer names its head, and the question is newer than anything committed before this
        call. Raises TimeoutError when journal is silent for `patience_s`.
        """
        self._finish()
        self._end_seq = None
        heard_s = time.monotonic()
        while self._end_seq is None or self._next_seq < self._end_seq:
            before = (self._next_seq, self._end_seq)
            self._ask()
            self._bus.wait(0.05)
            self._hear()
            while self._ready:
                yield self._hand_out()
                self._finish()
            if (self._next_seq, self._end_seq) != before:
                heard_s = time.monotonic()
            if time.monotonic() - heard_s > patience_s:
                raise TimeoutError(f"journal did not answer for {patience_s:g} s")

    def _hand_out(self) -> Heard:
        heard, self._in_hand = self._ready.popleft()
        return heard

    def _finish(self) -> None:
        """The reader asks for more: it is done with what it has."""
        if self._memory and self._in_hand:
            self._memory.keep(self._in_hand)
        self._in_hand = None

    def _hear(self) -> None:
        for message in self._transcript:
            self._take(message)

    def _take(self, message: object) -> None:
        if isinstance(message, JournalHead | HistoryEnd) and self._is_of_the_past(message.boot_id):
            return
        if isinstance(message, JournalHead):
            self._follow(message.journal_id, message.first_seq, message.next_seq)
        elif isinstance(message, HistoryEnd):
            self._skip_to(message.first_seq)
            self._asked_s = 0.0
            self._end_seq = message.head_seq
            self._follow(message.journal_id, message.first_seq, message.head_seq)
        elif isinstance(message, _ENTRIES):
            self._take_entry(message)
        elif self._wanted(message):
            self._ready.append((message, None))

    def _take_entry(self, entry: Entry) -> None:
        if self._memory and not self._is_met:
            return  # it may be another journal than the one remembered; once that is known, it is asked for
        if not entry.journal_seq:
            return self._take_early(entry)
        if self._next_seq is None:
            self._next_seq = entry.journal_seq
        if entry.journal_seq >= self._next_seq:
            self._ahead[entry.journal_seq] = entry
        self._release()
        if self._ahead:
            self._ask()

    def _take_early(self, entry: Entry) -> None:
        """journal's disk is full: the entry comes again with its number, when it is stored."""
        if entry.utterance_id not in self._early and self._wanted(entry):
            self._early.add(entry.utterance_id)
            self._ready.append((entry, None))

    def _release(self) -> None:
        while (entry := self._ahead.pop(self._next_seq, None)) is not None:
            self._next_seq += 1
            if entry.utterance_id in self._early:
                self._early.remove(entry.utterance_id)
            elif self._wanted(entry):
                self._ready.append((entry, Position(self.journal_id, self._next_seq)))

    def _follow(self, journal_id: str, first_seq: int, head_seq: int) -> None:
        if self._next_seq is not None and (self._next_seq > head_seq or self.journal_id not in ("", journal_id)):
            self._ahead.clear()
            # A journal that began anew: all it has is new. Else a power cut took its last entries, and they come again.
            self._next_seq = head_seq if self.journal_id == journal_id else first_seq
        self.journal_id, self._is_met = journal_id, True
        if self._next_seq is None:
            self._next_seq = head_seq
        elif self._next_seq < head_seq:
            self._ask()

    def _is_of_the_past(self, boot_id: str) -> bool:
        """The last words of a journal that was started again may come after the first of its successor."""
        if boot_id not in self._boots:
            self._boots.append(boot_id)
        return boot_id != self._boots[-1]

    def _skip_to(self, first_seq: int) -> None:
        """Past what retention has deleted."""
        if self._next_seq < first_seq:
            self._next_seq = first_seq
            self._release()

    def _ask(self) -> None:
        now_s = time.monotonic()
        if now_s - self._asked_s >= ASK_AGAIN_S:
            self._asked_s = now_s
            self._history.send(HistoryRequest(requester=self._name, since=self._next_seq, limit=HISTORY_LIMIT))

    def _wanted(self, message: Heard) -> bool:
        return not self._source or message.source == self._source
