"""What several hypotheses of one utterance agree on: LocalAgreement-2, on words. Pure.

A word is committed when two hypotheses in a row have it, and all before it, alike; it is never taken back. The rest
of the newest hypothesis is tentative. This serves the eye: the final is decoded anew from the whole utterance.
"""

from dataclasses import dataclass
from itertools import takewhile

from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, Hypothesis, Interim

from .speculation import EARLY

EDGE_S = 0.25  # the last word before the edge of the sound may be cut in the middle
SEAM_WORDS = 5  # of those before a window, how many may be heard in it again


@dataclass(frozen=True)
class _Spoken:
    """A word; without times when the engine has none."""

    text: str
    start_s: float | None = None
    end_s: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Spoken) and self._key() == other._key()

    def _key(self) -> str:
        return "".join(letter for letter in self.text.casefold() if letter.isalnum())


class Agreement:
    """Of one utterance, which begins at `start_position`."""

    def __init__(self, utterance_id: UtteranceId, start_position: int):
        self.utterance_id = utterance_id
        self._start_position = start_position
        self._end_position = start_position  # of what the newest hypothesis heard
        self._committed: list[_Spoken] = []
        self._tentative: list[_Spoken] = []

    @property
    def committed_end_s(self) -> float | None:
        """Where the last committed word ends, if that is known."""
        return self._committed[-1].end_s if self._committed else None

    def hear(self, hypothesis: Hypothesis) -> Interim | None:
        """None when that says nothing new, or comes after one that heard more."""
        if hypothesis.end_position <= self._end_position or not hypothesis.text:
            return None
        self._end_position = hypothesis.end_position
        self._leave_behind(hypothesis.start_position / SAMPLE_RATE_HZ)
        rest = self._rest_of(hypothesis)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._tentative, rest, strict=False)))
        agreed = min(agreed, _whole(rest, hypothesis))
        self._committed += rest[:agreed]
        self._tentative = rest[agreed:]
        return self._interim(hypothesis)

    def _leave_behind(self, start_s: float) -> None:
        """What is before the window will not be heard again: it stays as it was heard last."""
        left = list(takewhile(lambda word: word.end_s is not None and word.end_s <= start_s, self._tentative))
        self._committed += left
        self._tentative = self._tentative[len(left) :]

    def _rest_of(self, hypothesis: Hypothesis) -> list[_Spoken]:
        """What follows on the committed words."""
        words = _words_of(hypothesis)
        is_whole = hypothesis.start_position == self._start_position
        known = len(self._committed)
        if is_whole and (words[:known] == self._committed or not hypothesis.words):
            return words[known:]
        end_s = self.committed_end_s
        if hypothesis.words and end_s is not None:
            words = [word for word in words if (word.start_s + word.end_s) / 2 > end_s]
            if words and words[0].start_s >= end_s:
                return words
        return words[self._repeated(words) :]

    def _repeated(self, words: list[_Spoken]) -> int:
        """How many of the first ones are the last committed ones, heard again."""
        longest = min(SEAM_WORDS, len(words), len(self._committed))
        return next((count for count in range(longest, 0, -1) if words[:count] == self._committed[-count:]), 0)

    def _interim(self, hypothesis: Hypothesis) -> Interim | None:
        text = _joined([*self._committed, *self._tentative])
        if not text:
            return None
        return Interim(
            utterance_id=self.utterance_id,
            source=self.utterance_id.source,
            revision=self._end_position // FRAME_SAMPLES,  # a vad after us, which knows nothing of this one, goes on
            text=text,
            committed_text=_joined(self._committed),
            start_s=self._start_position / SAMPLE_RATE_HZ,
            end_s=self._end_position / SAMPLE_RATE_HZ,
            engine=hypothesis.engine,
            model=hypothesis.model,
        )


def _words_of(hypothesis: Hypothesis) -> list[_Spoken]:
    if hypothesis.words:
        return [_Spoken(word.word.strip(), word.start_s, word.end_s) for word in hypothesis.words]
    return [_Spoken(word) for word in hypothesis.text.split()]


def _whole(words: list[_Spoken], hypothesis: Hypothesis) -> int:
    """How many are surely not cut off by the edge of the sound. A pause cuts no word."""
    if hypothesis.purpose == EARLY:
        return len(words)
    if not hypothesis.words:
        return len(words) - 1
    edge_s = hypothesis.end_position / SAMPLE_RATE_HZ - EDGE_S
    return sum(1 for _ in takewhile(lambda word: word.end_s <= edge_s, words))


def _joined(words: list[_Spoken]) -> str:
    return " ".join(word.text for word in words)
