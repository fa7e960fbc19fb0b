"""Which live messages are published beside the entries, unsequenced and not stored. Pure: no socket, no clock.

Dropped are: messages about an utterance that has its entry, older revisions, repeated events (a restarted vad sends
them again), and interims that take back text published as committed (a restarted vad has lost it). Also dropped are
interims whose SpeechStarted is not known: a restarted journal has lost what was committed of them.
"""

from collections import OrderedDict
from collections.abc import Callable

from voicetap.codec import UtteranceId
from voicetap.messages import Interim, SpeechStarted, SpeechStopped, Status

MAX_TRACKED = 512  # messages; at most three per utterance

LiveMessage = Interim | SpeechStarted | SpeechStopped | Status


class LiveFilter:
    """`has_entry`: whether an utterance has its entry."""

    def __init__(self, has_entry: Callable[[UtteranceId], bool]):
        self._has_entry = has_entry
        # By utterance and type: revision and committed text of the newest message.
        self._newest: OrderedDict[tuple[UtteranceId, type], tuple[int, str]] = OrderedDict()

    def accepts(self, message: LiveMessage) -> bool:
        """Whether to publish the message, which then counts as published."""
        if isinstance(message, Status):
            return True
        if self._has_entry(message.utterance_id):
            return False
        return self._is_newer(message) if isinstance(message, Interim) else self._is_first(message)

    def _is_first(self, event: SpeechStarted | SpeechStopped) -> bool:
        key = event.utterance_id, type(event)
        is_first = key not in self._newest
        self._update(key, (0, ""))
        return is_first

    def _is_newer(self, interim: Interim) -> bool:
        key = interim.utterance_id, Interim
        has_started = (interim.utterance_id, SpeechStarted) in self._newest
        revision, committed_text = self._newest.get(key, (-1, ""))
        if not has_started or interim.revision <= revision or not interim.committed_text.startswith(committed_text):
            return False
        self._update(key, (interim.revision, interim.committed_text))
        return True

    def _update(self, key: tuple[UtteranceId, type], newest: tuple[int, str]) -> None:
        self._newest[key] = newest
        self._newest.move_to_end(key)
        if len(self._newest) > MAX_TRACKED:
            self._newest.popitem(last=False)
