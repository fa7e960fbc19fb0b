"""How long a pause has to be to end an utterance: by what was said before it, and how this speaker pauses. Pure.

It must do without either: then, and where it is not to adapt, a pause of `endpoint_ms` is the end. Lengths are samples.
"""

import math
from collections import deque

from voicetap.messages import SAMPLE_RATE_HZ, Hypothesis
from voicetap.settings import VadSettings

SURE_LOGPROB = -0.7  # on average per token: below it, punctuation is guesswork too
PAUSES = 20  # of a speaker that are remembered
PERCENTILE, MARGIN = 0.9, 1.3  # a pause so much longer than most is none of those within a sentence
TERMINAL, UNFINISHED = ".?!。？！", ",;:-–—…，、"
FOLLOWED = frozenset(  # by something, in English; of other languages there is punctuation alone
    "a an and because but from if into my of or our than the their to uh um while with your".split()
)


class Endpoint:
    """Of one stream. `length` is what it takes in the pause of the moment."""

    def __init__(self, settings: VadSettings):
        self._is_adaptive = settings.adaptive_endpoint
        self._usual = settings.endpoint_ms * SAMPLE_RATE_HZ // 1000
        self._shortest = min(self._usual, settings.endpoint_min_ms * SAMPLE_RATE_HZ // 1000)
        self._longest = max(self._usual, settings.endpoint_max_ms * SAMPLE_RATE_HZ // 1000)
        self._pauses: deque[int] = deque(maxlen=PAUSES)
        self.reset()

    @property
    def soonest(self) -> int:
        """The shortest pause that may be the end, whatever is heard of what was said before it."""
        return self._shortest if self._is_adaptive else self._usual

    def go_on(self, pause: int) -> None:
        """Somebody speaks again after so much silence; also when that had been taken for the end."""
        self.reset()
        if pause < self._longest:
            self._pauses.append(pause)

    def reset(self) -> None:
        """The pause of the moment is over."""
        self.length = self._usual

    def hear(self, hypothesis: Hypothesis) -> None:
        """What was said before the pause of the moment."""
        if not self._is_adaptive:
            return
        if is_unfinished(hypothesis.text):
            self.length = self._longest
        elif is_finished(hypothesis.text) and hypothesis.avg_logprob > SURE_LOGPROB:
            self.length = min(self._usual, max(self._shortest, self._beyond_pauses()))

    def _beyond_pauses(self) -> int:
        if not self._pauses:
            return 0
        longest_first = sorted(self._pauses, reverse=True)
        return int(MARGIN * longest_first[math.floor(len(longest_first) * (1 - PERCENTILE))])


def is_finished(text: str) -> bool:
    """Whether it looks like the end of a sentence."""
    return text.rstrip("\"')”’ ").endswith(tuple(TERMINAL)) and not is_unfinished(text)


def is_unfinished(text: str) -> bool:
    """Whether something seems to follow, whatever the engine put behind it."""
    if text.endswith(("...", *UNFINISHED)):
        return True
    words = text.casefold().rstrip(TERMINAL).split()
    return bool(words) and words[-1] in FOLLOWED
