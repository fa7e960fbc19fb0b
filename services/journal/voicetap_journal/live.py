"""What is published beside the entries, unsequenced and unstored: pure, no socket, no clock.

Only what is newest is worth publishing: nothing about an utterance whose text is out, no older revision of its
words, no event twice (a restarted vad tells again what it sees again).
"""

from collections import OrderedDict
from collections.abc import Callable

from voicetap.codec import UtteranceId
from voicetap.messages import Interim, SpeechStarted, SpeechStopped, Status

MAX_UTTERANCES = 256  # whose last revision is remembered

LiveMessage = Interim | SpeechStarted | SpeechStopped | Status


class Live:
    """Decides which live messages are passed on. `is_final` says whether an utterance has its entry."""

    def __init__(self, is_final: Callable[[UtteranceId], bool]):
        self._is_final = is_final
        self._revisions: OrderedDict[tuple[UtteranceId, type], int] = OrderedDict()

    def is_news(self, message: LiveMessage) -> bool:
        if isinstance(message, Status):
            return True
        if self._is_final(message.utterance_id):
            return False
        key = message.utterance_id, type(message)
        revision = message.revision if isinstance(message, Interim) else 0
        if revision <= self._revisions.get(key, -1):
            return False
        self._revisions[key] = revision
        self._revisions.move_to_end(key)
        if len(self._revisions) > MAX_UTTERANCES:
            self._revisions.popitem(last=False)
        return True
