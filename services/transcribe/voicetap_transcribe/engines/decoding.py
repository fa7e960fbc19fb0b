"""Whisper's decoding without the model: search with fallback, window sizes, and audio longer than one window.

Whisper was trained on windows of 30 s. A short utterance is padded with silence, which costs as much as speech. Stock
weights decode shorter windows wrongly; weights trained for them declare it in `voicetap.json` in their directory:
{"short_windows": true}.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Protocol

import numpy as np

from voicetap.errors import ConfigError

from ..hallucination_filter import (
    MAX_COMPRESSION_RATIO,
    NO_SPEECH_LOGPROB,
    NO_SPEECH_PROB,
    compression_ratio,
    loop_start,
)
from .base import Result

CONFIDENT_LOGPROB = -0.6  # from here on greedy search nearly always finds the words of beam search
DOUBTFUL_LOGPROB = -1.0
FALLBACK_TEMPERATURE = 0.4  # one retry; Whisper's own six temperatures make noise six times as expensive

DECLARATION = "voicetap.json"
FRAMES_PER_S = 100  # mel frames
FULL_FRAMES = 30 * FRAMES_PER_S
# Few window sizes, as each has a cost of its own. 160 must not occur: CTranslate2 takes it for encoded audio.
STEP_FRAMES = 100
MARGIN_FRAMES = 64  # silence at the end; without it tuned weights continue the text


@dataclass(frozen=True)
class Candidate:
    """Tokens of one search, and their text."""

    tokens: list[int]
    text: str
    avg_logprob: float
    no_speech_prob: float

    @property
    def is_loop(self) -> bool:
        return loop_start(self.text.split()) is not None or compression_ratio(self.text) > MAX_COMPRESSION_RATIO

    @property
    def is_confident(self) -> bool:
        return self.avg_logprob >= CONFIDENT_LOGPROB and not self.is_loop

    @property
    def is_doubtful(self) -> bool:
        is_silence = self.no_speech_prob > NO_SPEECH_PROB and self.avg_logprob < NO_SPEECH_LOGPROB
        return self.is_loop or self.avg_logprob < DOUBTFUL_LOGPROB and not is_silence


class Generate(Protocol):
    def __call__(self, *, beam_size: int, temperature: float) -> Candidate:
        """One search."""


def search(generate: Generate, beam_size: int) -> Candidate:
    """Greedy search, then beam search unless that was confident, then sampling if the last was doubtful.

    As accurate as beam search wherever that finds something else, at the cost of greedy search elsewhere.
    """
    candidates = []
    for candidate in _candidates(generate, beam_size):
        candidates.append(candidate)
        if candidate.is_confident:
            return candidate
    return max(candidates, key=lambda candidate: (not candidate.is_loop, candidate.avg_logprob))


def _candidates(generate: Generate, beam_size: int) -> Iterator[Candidate]:
    yield (candidate := generate(beam_size=1, temperature=0.0))
    if beam_size > 1:
        yield (candidate := generate(beam_size=beam_size, temperature=0.0))
    if candidate.is_doubtful:
        yield generate(beam_size=1, temperature=FALLBACK_TEMPERATURE)


def window_frames(frames: int) -> int:
    """The size of the short window for this many frames of audio."""
    steps = ceil((frames + MARGIN_FRAMES) / STEP_FRAMES)
    return min(FULL_FRAMES, max(2, steps) * STEP_FRAMES)


def pad(features: np.ndarray, frames: int) -> np.ndarray:
    """Features of shape (mels, n) as (1, mels, frames), cut or padded with zeros as in faster-whisper."""
    window = np.zeros((1, features.shape[0], frames), np.float32)
    window[0, :, : features.shape[1]] = features[:, :frames]
    return window


def declares_short_windows(directory: Path) -> bool:
    """Whether the weights in `directory` declare that they support short windows. Raises ConfigError."""
    path = directory / DECLARATION
    if not path.is_file():
        return False
    try:
        return json.loads(path.read_text())["short_windows"] is True
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f'{path} cannot be used: it should say {{"short_windows": true}}') from error


def transcribe_windows(features: np.ndarray, transcribe: Callable[[np.ndarray], Result]) -> Result:
    """The result for audio of any length, which nearly always is one window."""
    frames, seek, parts = features.shape[1], 0, []
    while seek < frames:
        part = transcribe(features[:, seek : seek + FULL_FRAMES])
        parts.append(_shifted(part, seek / FRAMES_PER_S))
        seek += _decoded_frames(part) if seek + FULL_FRAMES < frames else FULL_FRAMES
    return _joined(parts) if parts else Result()


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
