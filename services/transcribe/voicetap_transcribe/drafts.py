"""Jobs of utterances that are still open: which wait, and what early ones sounded like. Nobody is owed them. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Job

from .engine import Result

FINAL, EARLY, INTERIM = "final", "early", "interim"  # purposes


@dataclass(frozen=True)
class Heard:
    """What an early job sounded like."""

    cut: tuple[UtteranceId, int, int]
    result: Result
    decode_s: float


def cut_of(job: Job) -> tuple[UtteranceId, int, int]:
    """The sound of a job, by name."""
    return job.utterance_id, job.start_position, job.end_position


class Drafts:
    """Of each utterance the newest waits, and of each source the newest early result is kept."""

    def __init__(self) -> None:
        self._waiting: dict[UtteranceId, Job] = {}
        self._heard: dict[str, Heard] = {}

    @property
    def has_early(self) -> bool:
        return any(draft.purpose == EARLY for draft in self._waiting.values())

    def receive(self, draft: Job) -> None:
        self._waiting[draft.utterance_id] = draft
        heard = self._heard.get(draft.utterance_id.source)
        if draft.purpose == EARLY and heard and heard.cut[0] == draft.utterance_id:
            del self._heard[draft.utterance_id.source]

    def next(self) -> Job | None:
        """The early one that has waited longest, else the interim that has."""
        waiting = sorted(self._waiting.values(), key=lambda draft: draft.purpose != EARLY)
        return self._waiting.pop(waiting[0].utterance_id) if waiting else None

    def remember(self, early: Job, result: Result, decode_s: float) -> None:
        self._heard[early.utterance_id.source] = Heard(cut_of(early), result, decode_s)

    def heard_of(self, final: Job) -> Heard | None:
        """What was heard of this very sound."""
        heard = self._heard.get(final.utterance_id.source)
        return heard if heard and heard.cut == cut_of(final) else None

    def forget(self, is_over: Callable[[UtteranceId], bool]) -> None:
        """Nobody wants to know more about these utterances."""
        self._waiting = {key: draft for key, draft in self._waiting.items() if not is_over(key)}
        self._heard = {key: heard for key, heard in self._heard.items() if not is_over(heard.cut[0])}

    def refuse(self, id_: UtteranceId) -> None:
        """What waits of this utterance comes too late."""
        self._waiting.pop(id_, None)

    def clear(self) -> None:
        self._waiting.clear()
