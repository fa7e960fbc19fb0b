"""How long a pause must be to end an utterance: by the text before it and by this speaker's pauses. Pure.

Without either, or if not adaptive, a pause of `endpoint_ms` is the endpoint. Lengths are samples.
"""

import math
from collections import deque

from voicetap.messages import SAMPLE_RATE_HZ, Hypothesis
from voicetap.settings import VadSettings

SURE_LOGPROB = -0.7  # mean per token; below it the punctuation is not reliable either
PAUSES = 20  # latest pauses within utterances that count
PERCENTILE, MARGIN = 0.9, 1.3  # an endpoint must exceed this percentile of the pauses by this factor
TERMINAL, UNFINISHED = ".?!。？！", ",;:-–—…，、"
CONTINUING_WORDS = frozenset(  # English only; other languages have just their punctuation
    "a an and because but from if into my of or our than the their to uh um while with your".split()
)


class Endpointer:
    """Of one stream. `length` is the silence required in the current pause."""

    def __init__(self, settings: VadSettings):
        self._is_adaptive = settings.adaptive_endpoint
        self._default = settings.endpoint_ms * SAMPLE_RATE_HZ // 1000
        self._shortest = min(self._default, settings.endpoint_min_ms * SAMPLE_RATE_HZ // 1000)
        self._longest = max(self._default, settings.endpoint_max_ms * SAMPLE_RATE_HZ // 1000)
        self._pauses: deque[int] = deque(maxlen=PAUSES)
        self.reset()

    @property
    def shortest(self) -> int:
        """The shortest silence that may be the endpoint, whatever the text."""
        return self._shortest if self._is_adaptive else self._default

    def on_speech_resumed(self, pause: int) -> None:
        """Speech resumed after `pause` samples of silence, even if an endpoint was declared meanwhile."""
        self.reset()
        if pause < self._longest:
            self._pauses.append(pause)

    def reset(self) -> None:
        """The current pause is over."""
        self.length = self._default

    def on_hypothesis(self, hypothesis: Hypothesis) -> None:
        """`hypothesis` is the text before the current pause."""
        if not self._is_adaptive:
            return
        if is_unfinished(hypothesis.text):
            self.length = self._longest
        elif is_finished(hypothesis.text) and hypothesis.avg_logprob > SURE_LOGPROB:
            self.length = min(self._default, max(self._shortest, self._longer_than_pauses()))

    def _longer_than_pauses(self) -> int:
        if not self._pauses:
            return 0
        longest_first = sorted(self._pauses, reverse=True)
        return int(MARGIN * longest_first[math.floor(len(longest_first) * (1 - PERCENTILE))])


def is_finished(text: str) -> bool:
    """Whether the text looks like the end of a sentence."""
    return text.rstrip("\"')”’ ").endswith(tuple(TERMINAL)) and not is_unfinished(text)


def is_unfinished(text: str) -> bool:
    """Whether the text looks incomplete, whatever punctuation the engine added."""
    if text.endswith(("...", *UNFINISHED)):
        return True
    words = text.casefold().rstrip(TERMINAL).split()
    return bool(words) and words[-1] in CONTINUING_WORDS
