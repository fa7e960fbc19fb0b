"""The partial text of an open utterance: its words so far, and when and what to decode next. Pure.

LocalAgreement-2 on words (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by
Partial Hypothesis Selection"): a word is committed once two hypotheses in a row agree on it and on all words before
it; it is never withdrawn. The rest of the newest hypothesis is tentative. Partials are for display only: the final
is decoded anew from the whole utterance.
"""

from dataclasses import dataclass
from itertools import takewhile

from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame, Hypothesis, Interim
from voicetap.vocabulary import Purpose

MIN_SPEECH = int(0.35 * SAMPLE_RATE_HZ)  # samples before the first partial: engines invent words for shorter sound
OVERLAP_S = 0.3  # of a window with the last committed word
MAX_WINDOW = 10 * SAMPLE_RATE_HZ
NEVER = float("-inf")
EDGE_S = 0.25  # a word that ends this close to the end of the window may be truncated
SEAM_WORDS = 5  # the most committed words that a window may repeat


class PartialTracker:
    """Partials of one utterance. Positions and durations are samples of the stream.

    `previous` is the tracker of the utterance before: the interval between partials spans utterances.
    """

    def __init__(
        self,
        utterance_id: UtteranceId,
        start_position: int,
        onset: AudioFrame | None = None,
        previous: "PartialTracker | None" = None,
    ):
        self.utterance_id = utterance_id
        self.onset_ns = onset.captured_ns if onset else 0
        self._start_position = start_position
        self._agreement = LocalAgreement(utterance_id, start_position)
        self._first_due = (onset.position if onset else start_position) + MIN_SPEECH
        self._requested_position = previous._requested_position if previous else NEVER
        self._early_seq = -1  # last frame of the newest early job

    def is_new_pause(self, pause: tuple[int, int]) -> bool:
        """Whether the early job of this pause was not requested yet."""
        return pause[1] != self._early_seq

    def request_early(self, pause: tuple[int, int], position: int) -> None:
        """Records the early job of `pause`; its text serves as a partial, so the next partial is postponed."""
        self._early_seq = pause[1]
        self._requested_position = position

    def overdue(self, position: int, period_s: float) -> float:
        """How long a partial that ends at `position` has been due; negative: not due yet."""
        if self._window_start(position) is None:
            return NEVER
        return position - max(self._first_due, self._requested_position + period_s * SAMPLE_RATE_HZ)

    def request_partial(self, position: int) -> int:
        """Records a partial that ends at `position`; returns where its window starts."""
        self._requested_position = position
        return self._window_start(position)

    def on_hypothesis(self, hypothesis: Hypothesis) -> Interim | None:
        return self._agreement.on_hypothesis(hypothesis)

    def _window_start(self, position: int) -> int | None:
        """None: the window would be too long, and without word times there is no place to start it later."""
        committed_end_s = self._agreement.committed_end_s
        if committed_end_s is None:
            return self._start_position if position - self._start_position <= MAX_WINDOW else None
        overlapping = int((committed_end_s - OVERLAP_S) * SAMPLE_RATE_HZ)
        return max(self._start_position, overlapping, position - MAX_WINDOW)


@dataclass(frozen=True)
class _HypothesisWord:
    """A word; without times if the engine has none. Equal if spelled alike apart from case and punctuation."""

    text: str
    start_s: float | None = None
    end_s: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HypothesisWord) and self._key() == other._key()

    def _key(self) -> str:
        return "".join(letter for letter in self.text.casefold() if letter.isalnum())


class LocalAgreement:
    """Of one utterance, which begins at `start_position`."""

    def __init__(self, utterance_id: UtteranceId, start_position: int):
        self.utterance_id = utterance_id
        self._start_position = start_position
        self._end_position = start_position  # of the newest hypothesis
        self._committed: list[_HypothesisWord] = []
        self._tentative: list[_HypothesisWord] = []

    @property
    def committed_end_s(self) -> float | None:
        """Where the last committed word ends; None if there is none, or the engine has no times."""
        return self._committed[-1].end_s if self._committed else None

    def on_hypothesis(self, hypothesis: Hypothesis) -> Interim | None:
        """The new partial. None when the hypothesis is empty, or ends before an earlier one."""
        if hypothesis.end_position <= self._end_position or not hypothesis.text:
            return None
        self._end_position = hypothesis.end_position
        self._commit_before(hypothesis.start_position / SAMPLE_RATE_HZ)
        rest = self._words_after_committed(hypothesis)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._tentative, rest, strict=False)))
        agreed = min(agreed, _count_untruncated(rest, hypothesis))
        self._committed += rest[:agreed]
        self._tentative = rest[agreed:]
        return self._interim(hypothesis)

    def _commit_before(self, start_s: float) -> None:
        """Words before the window will not be decoded again: their latest reading is committed."""
        left = list(takewhile(lambda word: word.end_s is not None and word.end_s <= start_s, self._tentative))
        self._committed += left
        self._tentative = self._tentative[len(left) :]

    def _words_after_committed(self, hypothesis: Hypothesis) -> list[_HypothesisWord]:
        words = _words_of(hypothesis)
        is_whole = hypothesis.start_position == self._start_position
        count = len(self._committed)
        if is_whole and (words[:count] == self._committed or not hypothesis.words):
            return words[count:]
        end_s = self.committed_end_s
        if hypothesis.words and end_s is not None:
            words = [word for word in words if (word.start_s + word.end_s) / 2 > end_s]
            if words and words[0].start_s >= end_s:
                return words
        return words[self._count_repeated(words) :]

    def _count_repeated(self, words: list[_HypothesisWord]) -> int:
        """How many of the first words repeat the last committed ones."""
        longest = min(SEAM_WORDS, len(words), len(self._committed))
        return next((count for count in range(longest, 0, -1) if words[:count] == self._committed[-count:]), 0)

    def _interim(self, hypothesis: Hypothesis) -> Interim | None:
        text = _joined([*self._committed, *self._tentative])
        if not text:
            return None
        return Interim(
            utterance_id=self.utterance_id,
            source=self.utterance_id.source,
            revision=self._end_position // FRAME_SAMPLES,  # increases even over a restart of vad
            text=text,
            committed_text=_joined(self._committed),
            start_s=self._start_position / SAMPLE_RATE_HZ,
            end_s=self._end_position / SAMPLE_RATE_HZ,
            engine=hypothesis.engine,
            model=hypothesis.model,
        )


def _words_of(hypothesis: Hypothesis) -> list[_HypothesisWord]:
    if hypothesis.words:
        return [_HypothesisWord(word.word.strip(), word.start_s, word.end_s) for word in hypothesis.words]
    return [_HypothesisWord(word) for word in hypothesis.text.split()]


def _count_untruncated(words: list[_HypothesisWord], hypothesis: Hypothesis) -> int:
    """How many words the end of the window cannot have truncated. An early job ends in a pause, which cuts no word."""
    if hypothesis.purpose == Purpose.EARLY:
        return len(words)
    if not hypothesis.words:
        return len(words) - 1
    edge_s = hypothesis.end_position / SAMPLE_RATE_HZ - EDGE_S
    return sum(1 for _ in takewhile(lambda word: word.end_s <= edge_s, words))


def _joined(words: list[_HypothesisWord]) -> str:
    return " ".join(word.text for word in words)
