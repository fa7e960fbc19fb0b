"""The service around the order and the file: takes results in, stores, publishes and acknowledges them."""

import logging
import time
from dataclasses import replace

from voicetap import links
from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Entry, Failed, Final, Gap, JournalHead, Status
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import HEARTBEAT_COALESCE_S, Node
from voicetap.settings import JournalSettings

from .clean import clean
from .history import History
from .live import Live
from .order import Order
from .store import Store, Unwritable

HEAD_S = 0.5
RETIRE_S = 1.0
RETRY_S = 1.0  # between two tries to write to a full disk
MAX_UNSTORED = 10_000  # entries kept in memory while the disk is full; more stay with their senders
HEAD_STREAMS = 64  # named in one head, the latest
FRESH_WAIT_S = 30.0  # with a new file nobody knows whether the first numbers of a stream are still to come
INTERIMS = "transcript.interim/"  # their topics

log = logging.getLogger("journal")


class Journal:
    """Each turn takes what waits, stores it in one transaction, then publishes and acknowledges it.

    While the file cannot be written entries are published all the same, but not acknowledged, and without a number: a
    number that was published belongs to its entry for ever, and this process may die before it can store any.
    """

    def __init__(self, node: Node, store: Store, settings: JournalSettings):
        self._node = node
        self._store = store
        self._settings = settings
        self._results = node.receiver(links.RESULTS)
        self._commits = node.sender(links.COMMITS)
        self._transcript = node.sender(links.TRANSCRIPT)
        self._history = History(node.receiver(links.HISTORY), self._transcript, store, node.boot_id)
        self._order = restored(store, settings.reorder_timeout_s)
        self._live = Live(self._order.knows)
        self._interims_wanted = True
        self._unstored: dict[UtteranceId, Entry] = {}
        self._refused = 0
        self._next_head_s = self._next_retire_s = self._next_write_s = 0.0

    def turn(self) -> bool:
        """Everything that can be done now. True when there was a message or more is to be done at once."""
        now_s = time.monotonic()
        messages, repeated = self._take_results(now_s)
        self._history.take_requests()
        released = self._order.release(now_s)
        self._unstored |= {entry.utterance_id: entry for entry in released}
        for entry in self._store_all(now_s) or [replace(entry, journal_seq=0) for entry in released]:
            failpoint("journal.entry.acknowledged")
            self._transcript.send(entry)
            failpoint("journal.entry.published")
        for utterance_id in repeated:
            self._acknowledge(utterance_id)
        was_wanted, self._interims_wanted = self._interims_wanted, self._transcript.has_subscribers(INTERIMS)
        if released or now_s >= self._next_head_s - HEARTBEAT_COALESCE_S or was_wanted != self._interims_wanted:
            self._publish_head(now_s)
        self._history.answer_one()
        self._retire(now_s)
        self._node.queue_depth = len(self._unstored) + self._order.waiting()
        self._node.drops = self._refused + self._history.refused
        return bool(messages or self._history)

    def wait_s(self) -> float:
        """Until a turn is worth taking when no message comes."""
        return max(0.0, self._next_head_s - time.monotonic())

    def drain(self) -> None:
        """Takes what is still on its way, until it is quiet. If all of the box ends, nothing waits for its turn."""
        end_s = time.monotonic() + shutdown.JOURNAL_DRAIN_S
        quiet_s = time.monotonic() + shutdown.JOURNAL_IDLE_S
        while time.monotonic() < min(end_s, quiet_s):
            if self.turn():
                quiet_s = time.monotonic() + shutdown.JOURNAL_IDLE_S
            self._node.beat()
            self._node.wait(shutdown.JOURNAL_IDLE_S / 5)
        if shutdown.is_bundle_stopping(self._node.settings.runtime_dir):
            self._order.stop_waiting()
            self.turn()

    def _take_results(self, now_s: float) -> tuple[int, list[UtteranceId]]:
        """Takes new entries and passes live messages on; how many there were, and which entries were repeats."""
        messages, repeated = 0, []
        for message in self._results:
            messages += 1
            if not isinstance(message, (Final, Failed, Gap)):
                if self._live.is_news(message):
                    self._transcript.send(clean(message))
            elif self._order.knows(message.utterance_id):
                repeated.append(message.utterance_id)
            elif message.source != message.utterance_id.source or len(self._unstored) >= MAX_UNSTORED:
                self._refused += 1  # a forged one, or one that its sender keeps until the disk is writable
            else:
                self._take_entry(clean(message), now_s)
        return messages, repeated

    def _take_entry(self, entry: Entry, now_s: float) -> None:
        self._order.take(entry, now_s)
        self._unstored[entry.utterance_id] = entry

    def _store_all(self, now_s: float) -> list[Entry]:
        """Those whose turn has come, in order, once they are stored; what waits for its turn is stored, too."""
        if not self._unstored or now_s < self._next_write_s:
            return []
        streams = {key: self._order.streams[key] for key in {id_[:2] for id_ in self._unstored}}
        failpoint("journal.entry.taken")
        try:
            self._store.write(self._unstored.values(), streams, self._order.next_seq)
        except Unwritable as error:
            self._next_write_s = now_s + RETRY_S
            self._report("degraded", f"what was said is kept in memory only: {error}")
            return []
        failpoint("journal.entry.stored")
        stored = sorted(self._unstored.values(), key=lambda entry: entry.journal_seq)
        for entry in stored:
            self._commits.send(Committed(utterance_id=entry.utterance_id, journal_seq=entry.journal_seq))
        self._unstored.clear()
        self._report("ready", "")
        return [entry for entry in stored if entry.journal_seq]

    def _acknowledge(self, utterance_id: UtteranceId) -> None:
        if utterance_id not in self._unstored:
            seq = self._store.seq_of(utterance_id)
            self._commits.send(Committed(utterance_id=utterance_id, journal_seq=seq))

    def _report(self, state: str, detail: str) -> None:
        if self._node.state == state:
            return
        was_degraded = self._node.state == "degraded"
        self._node.state, self._node.detail = state, detail
        if state == "degraded" or was_degraded:
            detail = detail or "everything is stored again"
            log.warning(detail)
            self._transcript.send(Status(source="journal", state=state, detail=detail, wall_ns=time.time_ns()))

    def _publish_head(self, now_s: float) -> None:
        self._next_head_s = now_s + HEAD_S
        head = JournalHead(
            journal_id=self._store.journal_id,
            first_seq=self._store.first_seq,
            next_seq=self._store.next_seq,
            committed=self._watermarks(),
            highest=self._highest(),
            boot_id=self._node.boot_id,
            interims_wanted=self._interims_wanted,
        )
        self._commits.send(head)
        self._transcript.send(head)

    def _watermarks(self) -> tuple[UtteranceId, ...]:
        """Per stream, the id up to which every entry is stored."""
        streams = list(self._order.streams.items())[-HEAD_STREAMS:]
        marks = {key: stream.complete_to() for key, stream in streams}
        for source, stream, number in self._unstored:
            if (source, stream) in marks:
                marks[source, stream] = min(marks[source, stream], number - 1)
        return tuple(UtteranceId(*key, number) for key, number in marks.items() if number > 0)

    def _highest(self) -> tuple[UtteranceId, ...]:
        """For a vad that has lost its cut list: numbers up to these are not to be given again."""
        streams = list(self._order.streams.items())[-HEAD_STREAMS:]
        return tuple(UtteranceId(*key, number) for key, stream in streams if (number := stream.highest()))

    def _retire(self, now_s: float) -> None:
        if now_s < self._next_retire_s:
            return
        self._next_retire_s = now_s + RETIRE_S
        try:
            self._store.retire(self._settings.max_age_days, self._settings.max_mb)
        except Unwritable as error:
            self._report("degraded", f"old entries cannot be deleted: {error}")


def restored(store: Store, wait_s: float) -> Order:
    """The order as the last instance left it. A stream without its first entry may still be older than the file."""
    fresh_s = min(wait_s, FRESH_WAIT_S)
    order = Order(store.next_seq, fresh_s if store.is_new else wait_s)
    for source, stream, next_number, missing in store.streams():
        order.restore(source, stream, next_number, missing)
        if next_number == 1:
            order.streams[source, stream].wait_s = fresh_s
    for entry in store.unreleased():
        order.take(entry, time.monotonic())
    return order
