"""The main loop of journal: receives results, stores them, publishes and acknowledges them."""

import logging
import time
from contextlib import suppress
from dataclasses import replace

from voicetap import links
from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Entry, Failed, Final, Gap, JournalHead, Status
from voicetap.sanitize import sanitize_message
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import HEARTBEAT_COALESCE_S, Node
from voicetap.settings import JournalSettings
from voicetap.vocabulary import ServiceState

from .live_filter import LiveFilter, LiveMessage
from .replay import HistoryReplay
from .sequencer import Sequencer
from .store import Store, Unwritable

HEAD_S = 0.5
DELETE_EXPIRED_S = 1.0
RETRY_S = 1.0  # between attempts to write to a full disk
MAX_UNSTORED = 10_000  # entries kept in memory while the disk is full; their senders keep the others
HEAD_STREAMS = 64  # streams in one head, the latest
NEW_FILE_TIMEOUT_S = 30.0  # with a new file the first numbers of a stream may have been in the lost one
INTERIM_TOPICS = "transcript.interim/"  # prefix

log = logging.getLogger("journal")


class JournalService:
    """Each turn stores what was received in one transaction, then publishes and acknowledges it.

    While the file is not writable, entries are published all the same, but not acknowledged and without a
    `journal_seq`: a published number belongs to its entry forever, and the process may die before it stores any.
    """

    def __init__(self, node: Node, store: Store, settings: JournalSettings):
        self._node = node
        self._store = store
        self._settings = settings
        self._results = node.receiver(links.RESULTS)
        self._commits = node.sender(links.COMMITS)
        self._transcript = node.sender(links.TRANSCRIPT)
        self._replay = HistoryReplay(node.receiver(links.HISTORY), self._transcript, store, node.boot_id)
        self._sequencer = restore_sequencer(store, settings.reorder_timeout_s)
        self._live_filter = LiveFilter(self._sequencer.contains)
        self._interims_wanted = True
        self._unstored: dict[UtteranceId, Entry] = {}
        self._refused = 0
        self._next_head_s = self._next_delete_s = self._next_write_s = 0.0

    def turn(self) -> bool:
        """One pass of the loop. True if a message was received or a request waits: call it again at once."""
        now_s = time.monotonic()
        messages, repeated = self._receive_results(now_s)
        self._replay.receive_requests()
        released = self._sequencer.release(now_s)
        self._unstored |= {entry.utterance_id: entry for entry in released}
        for entry in self._commit(now_s) or [replace(entry, journal_seq=0) for entry in released]:
            failpoint("journal.entry.acknowledged")
            self._transcript.send(entry)
            failpoint("journal.entry.published")
        for utterance_id in repeated:
            self._acknowledge(utterance_id)
        was_wanted, self._interims_wanted = self._interims_wanted, self._transcript.has_subscribers(INTERIM_TOPICS)
        if released or now_s >= self._next_head_s - HEARTBEAT_COALESCE_S or was_wanted != self._interims_wanted:
            self._publish_head(now_s)
        self._replay.answer_one(unstored=len(self._unstored))
        self._delete_expired(now_s)
        self._node.queue_depth = len(self._unstored) + self._sequencer.waiting()
        self._node.drops = self._refused + self._replay.refused
        return bool(messages or self._replay.has_waiting)

    def wait_s(self) -> float:
        """Time until the next turn is due if no message arrives."""
        return max(0.0, self._next_head_s - time.monotonic())

    def drain(self) -> None:
        """Receives what is still in transit, until no message arrives for a moment, or the time is up.

        If the whole bundle stops, entries that wait for missing ones are published at the end.
        """
        end_s = time.monotonic() + shutdown.JOURNAL_DRAIN_S
        quiet_s = time.monotonic() + shutdown.JOURNAL_IDLE_S
        while time.monotonic() < min(end_s, quiet_s):
            if self.turn():
                quiet_s = time.monotonic() + shutdown.JOURNAL_IDLE_S
            self._node.beat()
            self._node.wait(shutdown.JOURNAL_IDLE_S / 5)
        if shutdown.is_bundle_stopping(self._node.settings.runtime_dir):
            self._sequencer.expire_missing()
            self.turn()

    def _receive_results(self, now_s: float) -> tuple[int, list[UtteranceId]]:
        """Adds new entries and publishes live messages. Returns the number of messages and the repeated entries."""
        messages, repeated = 0, []
        for message in self._results:
            messages += 1
            if not isinstance(message, (Final, Failed, Gap)):
                if isinstance(message, LiveMessage) and self._live_filter.accepts(message):
                    self._transcript.send(sanitize_message(message))
            elif self._sequencer.contains(message.utterance_id):
                repeated.append(message.utterance_id)
            elif message.source != message.utterance_id.source or len(self._unstored) >= MAX_UNSTORED:
                self._refused += 1  # forged, or kept by its sender until the disk is writable
            else:
                self._add_entry(sanitize_message(message), now_s)
        return messages, repeated

    def _add_entry(self, entry: Entry, now_s: float) -> None:
        self._sequencer.add(entry, now_s)
        self._unstored[entry.utterance_id] = entry

    def _commit(self, now_s: float) -> list[Entry]:
        """Stores and acknowledges all unstored entries, waiting ones too. Returns the released ones in order."""
        if not self._unstored or now_s < self._next_write_s:
            return []
        streams = {key: self._sequencer.streams[key] for key in {id_[:2] for id_ in self._unstored}}
        failpoint("journal.entry.received")
        try:
            self._store.write(self._unstored.values(), streams, self._sequencer.next_seq)
        except Unwritable as error:
            self._next_write_s = now_s + RETRY_S
            self._set_state(ServiceState.DEGRADED, f"what was said is kept in memory only: {error}")
            return []
        failpoint("journal.entry.stored")
        stored = sorted(self._unstored.values(), key=lambda entry: entry.journal_seq)
        for entry in stored:
            self._commits.send(Committed(utterance_id=entry.utterance_id, journal_seq=entry.journal_seq))
        self._unstored.clear()
        self._set_state(ServiceState.READY, "")
        return [entry for entry in stored if entry.journal_seq]

    def _acknowledge(self, utterance_id: UtteranceId) -> None:
        """Sends Committed again for a repeated entry, once it is stored."""
        if utterance_id not in self._unstored:
            with suppress(Unwritable):  # the disk cannot be read now: its sender asks again
                seq = self._store.seq_of(utterance_id)
                self._commits.send(Committed(utterance_id=utterance_id, journal_seq=seq))

    def _set_state(self, state: ServiceState, detail: str) -> None:
        """Sets the state of the heartbeat; logs and publishes the beginning and the end of `degraded`."""
        if self._node.state == state:
            return
        was_degraded = self._node.state == ServiceState.DEGRADED
        self._node.state, self._node.detail = state, detail
        if state == ServiceState.DEGRADED or was_degraded:
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
            unstored=len(self._unstored),
        )
        self._commits.send(head)
        self._transcript.send(head)

    def _watermarks(self) -> tuple[UtteranceId, ...]:
        """Per stream, the id up to which every entry is stored."""
        streams = list(self._sequencer.streams.items())[-HEAD_STREAMS:]
        numbers = {key: stream.complete_to() for key, stream in streams}
        for source, stream, number in self._unstored:
            if (source, stream) in numbers:
                numbers[source, stream] = min(numbers[source, stream], number - 1)
        return tuple(UtteranceId(*key, number) for key, number in numbers.items() if number > 0)

    def _highest(self) -> tuple[UtteranceId, ...]:
        """Per stream, the highest id of an entry: a vad that has lost its segment store must not reuse numbers."""
        streams = list(self._sequencer.streams.items())[-HEAD_STREAMS:]
        return tuple(UtteranceId(*key, number) for key, stream in streams if (number := stream.highest()))

    def _delete_expired(self, now_s: float) -> None:
        if now_s < self._next_delete_s:
            return
        self._next_delete_s = now_s + DELETE_EXPIRED_S
        try:
            self._store.delete_expired(self._settings.max_age_days, self._settings.max_mb)
        except Unwritable as error:
            self._set_state(ServiceState.DEGRADED, f"old entries cannot be deleted: {error}")


def restore_sequencer(store: Store, timeout_s: float) -> Sequencer:
    """The sequencer in the state that the previous instance stored.

    With a new file, and for a stream without its first entry, the timeout is at most NEW_FILE_TIMEOUT_S: the missing
    entries may have been in a lost file.
    """
    short_s = min(timeout_s, NEW_FILE_TIMEOUT_S)
    sequencer = Sequencer(store.next_seq, short_s if store.is_new else timeout_s)
    for source, stream, next_number, missing in store.streams():
        sequencer.restore(source, stream, next_number, missing)
        if next_number == 1:
            sequencer.streams[source, stream].timeout_s = short_s
    for entry in store.unreleased():
        sequencer.add(entry, time.monotonic())
    return sequencer
