"""What was said just before, per source: a help to hear what follows, and to see a word that a cut went through. Pure.

It is not kept anywhere: after a restart the first utterance is heard without.
"""

from dataclasses import dataclass, replace

from voicetap.messages import SAMPLE_RATE_HZ, Final, Job

from .guards import plain

MIN_LOGPROB = -0.7  # mistakes would be carried on
MAX_WORDS = 32
FORCED = ("hard_limit", "soft_limit")  # cuts within what somebody says
SEAM_S = 0.1  # words that touch a cut from both sides


@dataclass(frozen=True)
class _Said:
    final: Final
    end_position: int
    is_repeated: bool


class Context:
    """`max_gap_s`: the longest pause it bridges; 0: only forced cuts, as small models do worse with a prompt."""

    def __init__(self, max_gap_s: float):
        self._reach = max_gap_s * SAMPLE_RATE_HZ
        self._said: dict[str, _Said] = {}

    def previous_text(self, job: Job) -> str:
        """What may help to hear this job; nothing where it could mislead."""
        said = self._before(job)
        if not said or said.final.reason or said.is_repeated or job.start_position - said.end_position > self._reach:
            return ""
        if said.final.avg_logprob < MIN_LOGPROB and not self._is_seam(said, job):
            return ""
        return " ".join(said.final.text.split()[-MAX_WORDS:])

    def mended(self, job: Job, final: Final) -> Final:
        """Without the first word where it is the end of the word before, which the cut went through."""
        said = self._before(job)
        if not (said and self._is_seam(said, job) and said.final.cut_reason == "hard_limit"):
            return final
        if not (said.final.words and final.words and final.text):
            return final
        last, first, seam_s = said.final.words[-1], final.words[0], job.start_position / SAMPLE_RATE_HZ
        touch = seam_s - last.end_s < SEAM_S and first.start_s - seam_s < SEAM_S
        if not touch or plain(last.word) != plain(first.word) or plain(first.word) != plain(final.text.split()[0]):
            return final
        text = " ".join(final.text.split()[1:])
        return replace(final, text=text, words=final.words[1:], reason=final.reason if text else "repetition")

    def note(self, job: Job, final: Final) -> None:
        """This is what came of the job."""
        before = self._said.get(job.utterance_id.source)
        is_repeated = before is not None and before.final.text == final.text
        self._said[job.utterance_id.source] = _Said(final, job.end_position, is_repeated)

    def _before(self, job: Job) -> _Said | None:
        said = self._said.get(job.utterance_id.source)
        is_before = (
            said
            and said.final.utterance_id.stream == job.utterance_id.stream
            and said.final.utterance_id.number < job.utterance_id.number
            and said.end_position <= job.start_position
        )
        return said if is_before else None

    @staticmethod
    def _is_seam(said: _Said, job: Job) -> bool:
        return said.end_position == job.start_position and said.final.cut_reason in FORCED
