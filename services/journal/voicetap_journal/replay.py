"""Answers requests for stored entries: one answer of bounded size per turn, so that no client delays the others."""

import logging
import re

from voicetap.bus import Receiver, Sender
from voicetap.messages import Entry, HistoryEnd, HistoryRequest
from voicetap.service.failpoint import failpoint

from .store import Store, Unwritable

MAX_REQUESTERS = 100  # with a waiting request; the others have to ask again
MAX_ENTRIES = 500  # per answer
MAX_ANSWER_BYTES = 256 << 10  # per answer, so that sending takes a small part of a heartbeat period
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # it becomes part of a topic

log = logging.getLogger("journal")


class HistoryReplay:
    """Requests in, entries and a HistoryEnd on `history/REQUESTER` out."""

    def __init__(self, requests: Receiver, transcript: Sender, store: Store, boot_id: str):
        self._requests = requests
        self._transcript = transcript
        self._store = store
        self._boot_id = boot_id
        self._waiting: dict[str, HistoryRequest] = {}  # the newest request of each requester
        self.refused = 0

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def receive_requests(self) -> None:
        for request in self._requests:
            assert isinstance(request, HistoryRequest), "the link carries nothing else"
            is_waiting = request.requester in self._waiting
            if not _NAME.fullmatch(request.requester) or (len(self._waiting) >= MAX_REQUESTERS and not is_waiting):
                self.refused += 1
            else:
                self._waiting[request.requester] = request

    def answer_one(self, unstored: int) -> None:
        """Answers the oldest request, if there is one. `unstored`: entries that are in memory only."""
        if not self._waiting:
            return
        request = self._waiting.pop(next(iter(self._waiting)))
        try:
            entries = self._store.read(request.since, max(0, min(request.limit, MAX_ENTRIES)), MAX_ANSWER_BYTES)
        except Unwritable as error:  # the disk cannot be read now: the client asks again
            log.warning("entries cannot be read: %s", error)
            self.refused += 1
            return
        topic = f"history/{request.requester}"
        failpoint("journal.history")
        for entry in entries:
            self._transcript.send(entry, topic)
        self._transcript.send(
            HistoryEnd(
                requester=request.requester,
                journal_id=self._store.journal_id,
                first_seq=_first_seq(request, entries, self._store.first_seq),
                next_seq=entries[-1].journal_seq + 1 if entries else self._store.next_seq,
                head_seq=self._store.next_seq,
                boot_id=self._boot_id,
                unstored=unstored,
            ),
            topic,
        )


def _first_seq(request: HistoryRequest, entries: list[Entry], oldest_seq: int) -> int:
    """The first entry there is. A row deleted from the file by hand must not be waited for either."""
    return entries[0].journal_seq if entries and entries[0].journal_seq > request.since else oldest_seq
