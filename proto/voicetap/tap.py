"""The Tap: transcripts for any program, each once and in order.

It subscribes first and requests the history second, so that no entry is missed in between. A jump in `journal_seq`, or
a journal head beyond the last entry, makes it request again.
"""

import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

from . import links
from .bus import Bus
from .codec import UtteranceId
from .config import load_for_client
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
from .tap_position import Position, PositionStore

HISTORY_LIMIT = 500  # entries per request: bounds what one answer can flood
REQUEST_PERIOD_S = 0.5
_ENTRIES = (Final, Failed, Gap)
_TOPICS = {
    "finals": ("transcript.final/", "transcript.failed/", "transcript.gap/"),
    "interims": ("transcript.interim/",),
    "events": ("speech.started/", "speech.stopped/", "status/"),
}

_Live = Interim | SpeechStarted | SpeechStopped | Status
TapMessage = Entry | _Live


class Tap:
    """Transcripts as they are published. Iterate it; close it, or use it in a `with` block.

    `since`: first replay the journal from this `journal_seq` on (1 is the oldest); None starts with the next entry.
    `durable`: a name under which the position of this tap is saved, across its own restarts, journal's and new
    journals. The first time it starts at `since`, or with the oldest entry. Requesting the next entry acknowledges the
    last one: a reader killed before that gets that entry again, and never misses one. One reader per name.
    `interims`, `events`: also yield partial text while it is spoken, and speech and status events.
    `source`: only this source. By default a Tap yields each Final, Failed and Gap once, in order of `journal_seq`,
    which is 0 while journal's disk is full. `next_seq` is where a later Tap resumes; `missed` counts what was lost on
    the way and requested again. Not safe to share between threads.
    """

    unstored = 0  # entries that journal's last answer to `history` lacks, because its disk is full

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
        self.missed = self._counted_seq = 0  # entries that were lost on the way; counted up to this one
        self._next_seq = since  # of the next entry to release
        self._position_store: PositionStore | None = None
        self._unacked: Position | None = None  # after the entry that the reader has now
        self._has_journal_id = False
        self._source = source
        self._name = f"tap-{secrets.token_hex(6)}"
        self._ahead: dict[int, Entry] = {}
        self._unnumbered: set[UtteranceId] = set()  # delivered before they had a journal_seq
        self._ready: deque[tuple[TapMessage, Position | None]] = deque()
        self._requested_s = 0.0
        self._boot_ids: deque[str] = deque(maxlen=16)  # of journal, in the order of arrival
        self._history_end_seq: int | None = None  # journal's head in its last answer

        wanted = ["finals", *(["interims"] if interims else []), *(["events"] if events else [])]
        topics = [topic for kind in wanted for topic in _TOPICS[kind]]
        with ExitStack() as stack:  # closes everything if anything below fails
            if durable:
                self._position_store = PositionStore(durable)
                stack.callback(self._position_store.close)
                self.journal_id, self._next_seq = self._position_store.load() or Position(next_seq=since or 1)
            self._bus = stack.enter_context(Bus("app", settings or load_for_client()))
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

    def fileno(self) -> int:
        """A descriptor for select, poll or an event loop: readable when something was received.

        It is edge-triggered, as ZeroMQ's is: call `next(timeout_s=0)` until None first, whenever it is readable, and
        twice a second, because missing entries are requested by `next`.
        """
        return self._transcript.socket.fileno()

    @property
    def next_seq(self) -> int | None:
        """The `journal_seq` of the next entry; None before it is known."""
        return next((after.next_seq - 1 for _, after in self._ready if after), self._next_seq)

    def __iter__(self) -> Iterator[TapMessage]:
        """Blocks until there is a message; never ends."""
        while True:
            if (message := self.next(timeout_s=1.0)) is not None:
                yield message

    def next(self, timeout_s: float) -> TapMessage | None:
        """The next message, or None after `timeout_s` seconds without one."""
        self._ack()
        deadline_s = time.monotonic() + timeout_s
        while not self._ready:
            self._receive()
            if not self._ready and (left_s := deadline_s - time.monotonic()) <= 0:
                return None
            elif not self._ready:
                self._bus.wait(min(left_s, REQUEST_PERIOD_S))
        return self._deliver()

    def history(self, timeout_s: float = 5.0) -> Iterator[Entry]:
        """The entries from `next_seq` on that journal holds now; then it ends. For a Tap opened with `since`.

        Complete: journal's answer names its head, and the request is newer than everything committed before this call.
        Raises TimeoutError when journal does not answer for `timeout_s`.
        """
        self._ack()
        self._history_end_seq = None
        progress_s = time.monotonic()
        while self._history_end_seq is None or self._next_seq is None or self._next_seq < self._history_end_seq:
            before = (self._next_seq, self._history_end_seq)
            self._request_history()
            self._bus.wait(0.05)
            self._receive()
            while self._ready:
                yield cast(Entry, self._deliver())
                self._ack()
            if (self._next_seq, self._history_end_seq) != before:
                progress_s = time.monotonic()
            if time.monotonic() - progress_s > timeout_s:
                reason = self._bus.diagnose(links.TRANSCRIPT) or self._bus.diagnose(links.HISTORY)
                raise TimeoutError(f"journal did not answer for {timeout_s:g} s{reason and f': {reason}'}")

    def _deliver(self) -> TapMessage:
        message, self._unacked = self._ready.popleft()
        return message

    def _ack(self) -> None:
        """The reader requests the next message, which acknowledges the last one."""
        if self._position_store and self._unacked:
            self._position_store.save(self._unacked)
        self._unacked = None

    def _receive(self) -> None:
        for message in self._transcript:
            self._on_message(message)

    def _on_message(self, message: object) -> None:
        if isinstance(message, JournalHead | HistoryEnd) and self._is_stale(message.boot_id):
            return
        if isinstance(message, JournalHead):
            self._on_head(message.journal_id, message.first_seq, message.next_seq)
        elif isinstance(message, HistoryEnd):
            self._skip_to(message.first_seq)
            self._requested_s = 0.0
            self._history_end_seq = message.head_seq
            self.unstored = message.unstored
            self._on_head(message.journal_id, message.first_seq, message.head_seq)
        elif isinstance(message, _ENTRIES):
            self._on_entry(message)
        elif self._matches_source(live := cast(_Live, message)):
            self._ready.append((live, None))

    def _on_entry(self, entry: Entry) -> None:
        if self._position_store and not self._has_journal_id:
            return  # it may be of another journal than the saved position; it is requested once the id is known
        if not entry.journal_seq:
            return self._on_unnumbered(entry)
        if self._next_seq is None:
            self._next_seq = entry.journal_seq
        if entry.journal_seq >= self._next_seq:
            self._ahead[entry.journal_seq] = entry
        self._release()
        if self._ahead and self._next_seq is not None:
            self._count_missed(min(self._ahead))
            self._request_history()

    def _count_missed(self, received_seq: int) -> None:
        """Once for every hole: from the next entry, or where the last hole ended, to what was received behind it."""
        self.missed += max(0, received_seq - max(self._next_seq or 0, self._counted_seq))
        self._counted_seq = max(self._counted_seq, received_seq)

    def _on_unnumbered(self, entry: Entry) -> None:
        """journal's disk is full: the entry is published again, with its number, once it is stored."""
        if entry.utterance_id not in self._unnumbered and self._matches_source(entry):
            self._unnumbered.add(entry.utterance_id)
            self._ready.append((entry, None))

    def _release(self) -> None:
        while self._next_seq is not None and (entry := self._ahead.pop(self._next_seq, None)):
            self._next_seq += 1
            if entry.utterance_id in self._unnumbered:
                self._unnumbered.remove(entry.utterance_id)
            elif self._matches_source(entry):
                self._ready.append((entry, Position(self.journal_id, self._next_seq)))

    def _on_head(self, journal_id: str, first_seq: int, head_seq: int) -> None:
        if self._next_seq is not None and (self._next_seq > head_seq or self.journal_id not in ("", journal_id)):
            self._ahead.clear()
            # All entries of a new journal are new. The same journal with a lower head lost its last entries in a power
            # cut, and publishes them again.
            self._next_seq = head_seq if self.journal_id == journal_id else first_seq
        self.journal_id, self._has_journal_id = journal_id, True
        if self._next_seq is None:
            self._next_seq = head_seq
        elif self._next_seq < head_seq:
            self._request_history()

    def _is_stale(self, boot_id: str) -> bool:
        """Ignore heads of an earlier boot_id once a newer one was seen: they may arrive late."""
        if boot_id not in self._boot_ids:
            self._boot_ids.append(boot_id)
        return boot_id != self._boot_ids[-1]

    def _skip_to(self, first_seq: int) -> None:
        """Skips entries that retention has deleted."""
        if self._next_seq is not None and self._next_seq < first_seq:
            self._next_seq = first_seq
            self._release()

    def _request_history(self) -> None:
        now_s = time.monotonic()
        if self._next_seq is not None and now_s - self._requested_s >= REQUEST_PERIOD_S:
            self._requested_s = now_s
            self._history.send(HistoryRequest(requester=self._name, since=self._next_seq, limit=HISTORY_LIMIT))

    def _matches_source(self, message: TapMessage) -> bool:
        return not self._source or message.source == self._source
