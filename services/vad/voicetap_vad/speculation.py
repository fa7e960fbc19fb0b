"""Who has which job of an utterance that is still open, and what became of it. Nobody owes these: pure bookkeeping.

The promise does not depend on anything here: what is wrong or forgotten costs time, and no words.
"""

from collections import Counter
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Job

EARLY, INTERIM, FINAL = "early", "interim", "final"


@dataclass(frozen=True)
class _Guess:
    utterance_id: UtteranceId
    span: tuple[int, int]
    worker: str


class Speculation:
    """Per source: the newest early job, and the interim one that is being decoded."""

    def __init__(self) -> None:
        self.early: Counter[str] = Counter()  # per source, handed out since the start
        self.used: Counter[str] = Counter()  # of these: they were the end
        self._early: dict[str, _Guess] = {}
        self._interim: dict[str, _Guess] = {}
        self._barred: dict[str, UtteranceId] = {}

    def give(self, job: Job, worker: str) -> None:
        source = job.utterance_id.source
        guess = _Guess(job.utterance_id, (job.start_position, job.end_position), worker)
        if job.purpose == EARLY:
            self._early[source] = guess
            self.early[source] += 1
        else:
            self._interim[source] = guess

    def heard(self) -> list[tuple[UtteranceId, str]]:
        """The utterances of the newest early jobs, and who has them."""
        return [(guess.utterance_id, guess.worker) for guess in self._early.values()]

    def knows(self, job: Job) -> bool:
        """Whether the newest early job of its source had the very sound of this final one."""
        guess = self._early.get(job.utterance_id.source)
        span = job.start_position, job.end_position
        return guess is not None and (guess.utterance_id, guess.span) == (job.utterance_id, span)

    def use(self, job: Job) -> None:
        """The final job went to the worker that knows it."""
        del self._early[job.utterance_id.source]
        self.used[job.utterance_id.source] += 1

    def free(self, worker: str) -> None:
        """It decodes nothing: an interim of its is answered, or was abandoned."""
        self._interim = {source: guess for source, guess in self._interim.items() if guess.worker != worker}

    def lose(self, worker: str) -> None:
        """It is gone, perhaps because of what it was hearing: of that utterance there will be no more but the final."""
        lost = [guess for guess in (*self._early.values(), *self._interim.values()) if guess.worker == worker]
        self._barred |= {guess.utterance_id.source: guess.utterance_id for guess in lost}
        self._early = {source: guess for source, guess in self._early.items() if guess.worker != worker}
        self.free(worker)

    def may_hear(self, utterance_id: UtteranceId, purpose: str) -> bool:
        """Whether another job of it may be handed out; of interims one at a time."""
        source = utterance_id.source
        is_hearing = purpose == INTERIM and source in self._interim
        return self._barred.get(source) != utterance_id and not is_hearing
