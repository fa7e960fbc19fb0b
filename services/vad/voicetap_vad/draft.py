"""The utterance that is open: what it seems to say so far, and what of it is worth hearing next. Pure."""

from voicetap.codec import UtteranceId
from voicetap.messages import SAMPLE_RATE_HZ, AudioFrame, Hypothesis, Interim

from .agreement import Agreement

FIRST = int(0.35 * SAMPLE_RATE_HZ)  # speech before the first interim: in less, engines hear what is not there
OVERLAP_S = 0.3  # of a window with the last committed word
MAX_WINDOW = 10 * SAMPLE_RATE_HZ
NEVER = float("-inf")


class Draft:
    """All times count samples of the stream. `before` is the draft before: interims count over utterances."""

    def __init__(
        self,
        utterance_id: UtteranceId,
        start_position: int,
        onset: AudioFrame | None = None,
        before: "Draft | None" = None,
    ):
        self.utterance_id = utterance_id
        self.onset_ns = onset.captured_ns if onset else 0
        self._start_position = start_position
        self._agreement = Agreement(utterance_id, start_position)
        self._first_position = (onset.position if onset else start_position) + FIRST
        self._asked_position = before._asked_position if before else NEVER
        self._paused_to_seq = -1

    def is_news(self, pause: tuple[int, int]) -> bool:
        """Whether the early job of this pause was not made yet."""
        return pause[1] != self._paused_to_seq

    def ask_early(self, pause: tuple[int, int], position: int) -> None:
        """It tells as much as an interim, so the next of those has time."""
        self._paused_to_seq = pause[1]
        self._asked_position = position

    def overdue(self, position: int, period_s: float) -> float:
        """For how long an interim might have been made that ends at `position`; negative: it is too soon for one."""
        if self._window(position) is None:
            return NEVER
        return position - max(self._first_position, self._asked_position + period_s * SAMPLE_RATE_HZ)

    def ask_interim(self, position: int) -> int:
        """Where its sound begins."""
        self._asked_position = position
        return self._window(position)

    def hear(self, hypothesis: Hypothesis) -> Interim | None:
        return self._agreement.hear(hypothesis)

    def _window(self, position: int) -> int | None:
        """None: it would be too long. Where the committed words end is known only of an engine that times them."""
        committed_end_s = self._agreement.committed_end_s
        if committed_end_s is None:
            return self._start_position if position - self._start_position <= MAX_WINDOW else None
        overlapping = int((committed_end_s - OVERLAP_S) * SAMPLE_RATE_HZ)
        return max(self._start_position, overlapping, position - MAX_WINDOW)
