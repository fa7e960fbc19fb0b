"""Whisper's decoding without the model: searches, windows, the rule that decodes again, and audio longer than a window.

Whisper was trained on windows of 30 s, and a short utterance is padded with silence, which costs as much as speech.
Published weights decode shorter windows as well, given enough silence behind the speech, except where they end too
early; that shows, and then the full window is decoded. `windows` has what each model needs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, Word

from ..hallucination_filter import (
    DOUBTFUL_NO_SPEECH_PROB,
    NO_SPEECH_LOGPROB,
    NO_SPEECH_PROB,
    is_fluent,
    is_repetitive,
)
from .base import Result
from .windows import FRAMES_PER_S, FULL_FRAMES

CONFIDENT_LOGPROB = -0.6  # from here on greedy search nearly always finds the words of beam search
DOUBTFUL_LOGPROB = -1.0
FALLBACK_TEMPERATURE = 0.4  # one retry; Whisper's own six temperatures make noise six times as expensive

UNCOVERED_S = 0.7  # speech without words for this long: the search ended early
STRETCH_S = 1.0  # in the full window too: then it is decoded alone
WORD_MARGIN_S = 0.3  # of a word's times, which are no more accurate
VAD_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Candidate:
    """Tokens of one search, and their text."""

    tokens: list[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    audio_s: float = 0.0

    @property
    def is_loop(self) -> bool:
        return is_repetitive(self.text) and not is_fluent(self.text, self.audio_s)

    @property
    def is_silence(self) -> bool:
        return self.no_speech_prob > NO_SPEECH_PROB and self.avg_logprob < NO_SPEECH_LOGPROB

    @property
    def is_confident(self) -> bool:
        return self.avg_logprob >= CONFIDENT_LOGPROB and not self.is_loop

    @property
    def is_doubtful(self) -> bool:
        return self.is_loop or self.avg_logprob < DOUBTFUL_LOGPROB and not self.is_silence


class Generate(Protocol):
    def __call__(self, *, beam_size: int, temperature: float) -> Candidate:
        """One search."""


def search(generate: Generate, beam_size: int, *, greedy_first: bool) -> Candidate:
    """Beam search, then sampling if that was doubtful.

    `greedy_first`: greedy search before it, which is enough where it is confident: cheaper, and one or two words in a
    hundred worse with published weights.
    """
    candidates = []
    for candidate in _candidates(generate, beam_size, greedy_first):
        candidates.append(candidate)
        if candidate.is_confident:
            return candidate
    return max(candidates, key=lambda candidate: (not candidate.is_loop, candidate.avg_logprob))


def _candidates(generate: Generate, beam_size: int, greedy_first: bool) -> Iterator[Candidate]:
    if greedy_first or beam_size == 1:
        yield (candidate := generate(beam_size=1, temperature=0.0))
    if beam_size > 1:
        yield (candidate := generate(beam_size=beam_size, temperature=0.0))
    if candidate.is_doubtful:
        yield generate(beam_size=1, temperature=FALLBACK_TEMPERATURE)


@dataclass(frozen=True)
class Decoded:
    """The text of one window, and its words with times from the window's first sample."""

    best: Candidate
    words: tuple[Word, ...]
    language: str = ""
    language_probability: float = 0.0


def is_incomplete(decoded: Decoded, speech: bytes, audio_s: float, again_below: float) -> bool:
    """Whether a short window's text is to be compared with that of the full window."""
    best = decoded.best
    is_doubtful = best.avg_logprob < again_below or best.no_speech_prob > DOUBTFUL_NO_SPEECH_PROB
    if best.is_loop or (is_doubtful and not best.is_silence):
        return True
    return uncovered_s(decoded.words, speech, audio_s) >= UNCOVERED_S


def better(short: Decoded, full: Decoded, speech: bytes, audio_s: float) -> Decoded:
    """The one without repetition; else the one with more of the speech under its words; else the full window's.

    Not the more certain one: a short window is surest of itself where it ends early. Where both repeat themselves, it
    is the one with more doubt that there is speech: babble makes both repeat something, speech hardly ever.
    """
    repetitive = [is_repetitive(decoded.best.text) for decoded in (short, full)]
    if all(repetitive):
        return max(short, full, key=lambda decoded: decoded.best.no_speech_prob)
    if any(repetitive):
        return full if repetitive[0] else short
    gaps_s = [uncovered_s(decoded.words, speech, audio_s) for decoded in (short, full)]
    if max(gaps_s) >= UNCOVERED_S:
        return short if gaps_s[0] < gaps_s[1] else full
    return full


def uncovered_s(words: tuple[Word, ...], speech: bytes, audio_s: float) -> float:
    """The most speech between two words, before the first or after the last."""
    return _longest_gap(words, speech, audio_s)[0]


def uncovered_span(decoded: Decoded, speech: bytes, audio_s: float) -> tuple[float, float] | None:
    """The stretch to decode alone, as neither window has words for its speech."""
    speech_s, begin_s, end_s = _longest_gap(decoded.words, speech, audio_s)
    return (begin_s, end_s) if speech_s >= STRETCH_S else None


def inserted(decoded: Decoded, stretch: Decoded, begin_s: float) -> Decoded:
    """The text with that of a stretch in its place, unless that is doubtful."""
    best = stretch.best
    if is_repetitive(best.text) or best.no_speech_prob > DOUBTFUL_NO_SPEECH_PROB or not stretch.words:
        return decoded
    middle = tuple(replace(word, start_s=word.start_s + begin_s, end_s=word.end_s + begin_s) for word in stretch.words)
    before = tuple(word for word in decoded.words if word.end_s <= begin_s + WORD_MARGIN_S)
    words = (*before, *middle, *decoded.words[len(before) :])
    return replace(decoded, best=replace(decoded.best, text="".join(word.word for word in words)), words=words)


def _longest_gap(words: tuple[Word, ...], speech: bytes, audio_s: float) -> tuple[float, float, float]:
    """Seconds of speech, begin and end of the gap between words that has the most speech.

    `speech` is that of Job: a bit per VAD frame. Empty, there is no speech to cover.
    """
    starts_s = np.flatnonzero(_bits(speech)) * VAD_FRAME_S
    longest, end_s = (0.0, 0.0, 0.0), 0.0
    for next_s, next_end_s in [*((word.start_s, word.end_s) for word in words), (audio_s, audio_s)]:
        begin_s = end_s + WORD_MARGIN_S if end_s else 0.0
        until_s = next_s - WORD_MARGIN_S if next_s < audio_s else audio_s
        frames = np.count_nonzero((starts_s >= begin_s) & (starts_s + VAD_FRAME_S <= until_s))
        longest = max(longest, (float(frames * VAD_FRAME_S), end_s, min(next_s, audio_s)))
        end_s = max(end_s, next_end_s)
    return longest


def transcribe_windows(
    features: np.ndarray, speech: bytes, transcribe: Callable[[np.ndarray, bytes], Result]
) -> Result:
    """The result for audio of any length, which nearly always is one window. `transcribe` gets features and speech."""
    frames, seek, parts = features.shape[1], 0, []
    while seek < frames:
        part = transcribe(features[:, seek : seek + FULL_FRAMES], _from(speech, seek / FRAMES_PER_S))
        parts.append(_shifted(part, seek / FRAMES_PER_S))
        seek += _decoded_frames(part) if seek + FULL_FRAMES < frames else FULL_FRAMES
    return _joined(parts) if parts else Result()


def _from(speech: bytes, start_s: float) -> bytes:
    """The bits from `start_s` on."""
    return np.packbits(_bits(speech)[round(start_s / VAD_FRAME_S) :], bitorder="little").tobytes()


def _bits(speech: bytes) -> np.ndarray:
    """A 0 or 1 per VAD frame."""
    return np.unpackbits(np.frombuffer(speech, np.uint8), bitorder="little")


def _decoded_frames(part: Result) -> int:
    """Where the window after this one begins: at the end of the last word, as the edge may have cut the next one."""
    end_s = part.words[-1].end_s if part.words else 0.0
    return round(end_s * FRAMES_PER_S) or FULL_FRAMES


def _shifted(part: Result, by_s: float) -> Result:
    words = (replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in part.words)
    return replace(part, words=tuple(words))


def _joined(parts: list[Result]) -> Result:
    """All texts and words; the scores of the least certain part."""
    return replace(
        min(parts, key=lambda part: part.avg_logprob),
        text="".join(part.text for part in parts),
        words=tuple(word for part in parts for word in part.words),
    )
