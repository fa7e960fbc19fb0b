"""What is published beside the entries, unsequenced and unstored: pure, no socket, no clock.

Only what is newest is worth publishing: nothing about an utterance whose text is out, no older revision of its
words, no event twice (a restarted vad tells again what it sees again). And what was published as committed stays: a
restarted vad does not know what it was; nor does a restarted journal, which tells nothing of an utterance begun before.
"""

from collections import OrderedDict
from collections.abc import Callable

from voicetap.codec import UtteranceId
from voicetap.messages import Interim, SpeechStarted, SpeechStopped, Status

MAX_REMEMBERED = 512  # messages: of an utterance at most three

LiveMessage = Interim | SpeechStarted | SpeechStopped | Status


class Live:
    """Decides which live messages are passed on. `is_final` says whether an utterance has its entry."""

    def __init__(self, is_final: Callable[[UtteranceId], bool]):
        self._is_final = is_final
        self._newest: OrderedDict[tuple[UtteranceId, type], tuple[int, str]] = OrderedDict()

    def is_news(self, message: LiveMessage) -> bool:
        if isinstance(message, Status):
            return True
        if self._is_final(message.utterance_id):
            return False
        return self._is_newer(message) if isinstance(message, Interim) else self._is_first(message)

    def _is_first(self, event: SpeechStarted | SpeechStopped) -> bool:
        key = event.utterance_id, type(event)
        is_first = key not in self._newest
        self._remember(key, (0, ""))
        return is_first

    def _is_newer(self, interim: Interim) -> bool:
        key = interim.utterance_id, Interim
        has_begun = (interim.utterance_id, SpeechStarted) in self._newest
        revision, committed_text = self._newest.get(key, (-1, ""))
        if not has_begun or interim.revision <= revision or not interim.committed_text.startswith(committed_text):
            return False
        self._remember(key, (interim.revision, interim.committed_text))
        return True

    def _remember(self, key: tuple[UtteranceId, type], newest: tuple[int, str]) -> None:
        self._newest[key] = newest
        self._newest.move_to_end(key)
        if len(self._newest) > MAX_REMEMBERED:
            self._newest.popitem(last=False)
