"""What is published beside the entries, unsequenced and unstored: pure, no socket, no clock.

Only what is newest is worth publishing: nothing about an utterance whose text is out, no older revision of its
words, no event twice (a restarted vad tells again what it sees again). And what was published as committed stays:
a restarted vad does not know what it was.
"""

from collections import OrderedDict
from collections.abc import Callable

from voicetap.codec import UtteranceId
from voicetap.messages import Interim, SpeechStarted, SpeechStopped, Status

MAX_UTTERANCES = 256  # of which it is remembered what was newest

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
        key = message.utterance_id, type(message)
        is_interim = isinstance(message, Interim)
        revision, committed_text = (message.revision, message.committed_text) if is_interim else (0, "")
        known_revision, known_text = self._newest.get(key, (-1, ""))
        if revision <= known_revision or not committed_text.startswith(known_text):
            return False
        self._newest[key] = revision, committed_text
        self._newest.move_to_end(key)
        if len(self._newest) > MAX_UTTERANCES:
            self._newest.popitem(last=False)
        return True
