"""How much sound Whisper is shown at a time: thirty seconds, or little more than there is.

Whisper has learned to hear windows of 30 s, for a short utterance mostly silence, which costs as much as speech. Stock
weights hear nonsense in anything shorter. Those that were trained or tuned for it say so in `voicetap.json` in their
directory: {"short_windows": true}.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

from voicetap.errors import ConfigError

from .engine import Result

FILE = "voicetap.json"
FRAMES_PER_S = 100
FULL_FRAMES = 30 * FRAMES_PER_S
STEP_FRAMES = 100  # few sizes: each is prepared for anew. None is 160, which CTranslate2 takes for encoded sound
MARGIN_FRAMES = 64  # of silence at the end, without which tuned weights go on talking


def fitting(frames: int) -> int:
    """The window for this much sound."""
    steps = ceil((frames + MARGIN_FRAMES) / STEP_FRAMES)
    return min(FULL_FRAMES, max(2, steps) * STEP_FRAMES)


def padded(features: np.ndarray, frames: int) -> np.ndarray:
    """With nothing after the sound; zeros, as faster-whisper has them."""
    window = np.zeros((1, features.shape[0], frames), np.float32)
    window[0, :, : features.shape[1]] = features[:, :frames]
    return window


def are_declared_short(directory: Path) -> bool:
    """Whether these weights claim to hear in short windows. Raises ConfigError."""
    path = directory / FILE
    if not path.is_file():
        return False
    try:
        return json.loads(path.read_text())["short_windows"] is True
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f'{path} cannot be used: it should say {{"short_windows": true}}') from error


def one_after_another(features: np.ndarray, hear: Callable[[np.ndarray], Result]) -> Result:
    """What is heard in sound of any length, which nearly always is one window."""
    frames, seek, parts = features.shape[1], 0, []
    while seek < frames:
        part = hear(features[:, seek : seek + FULL_FRAMES])
        parts.append(_later(part, seek / FRAMES_PER_S))
        seek += _heard_frames(part) if seek + FULL_FRAMES < frames else FULL_FRAMES
    return _joined(parts) if parts else Result()


def _heard_frames(part: Result) -> int:
    """How far a window was heard that is not the last: the word at its edge is heard again."""
    end_s = part.words[-1].end_s if part.words else 0.0
    return round(end_s * FRAMES_PER_S) or FULL_FRAMES


def _later(part: Result, by_s: float) -> Result:
    moved = (replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in part.words)
    return replace(part, words=tuple(moved))


def _joined(parts: list[Result]) -> Result:
    """The least sure part speaks for all."""
    return replace(
        min(parts, key=lambda part: part.avg_logprob),
        text="".join(part.text for part in parts),
        words=tuple(word for part in parts for word in part.words),
    )
