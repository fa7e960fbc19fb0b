"""Window sizes, and what each model was measured to need.

Weights trained for short windows declare it in `voicetap.json` in their directory: {"short_windows": true}.
"""

import json
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

import numpy as np

from voicetap.errors import ConfigError

DECLARATION = "voicetap.json"
FRAMES_PER_S = 100  # mel frames
FULL_FRAMES = 30 * FRAMES_PER_S
# Few window sizes, as each has a cost of its own. 160 must not occur: CTranslate2 takes it for encoded audio.
STEP_FRAMES = 100
FLOOR = 2.0  # the lowest feature is this far below the highest: feature_extractor cuts them there


@dataclass(frozen=True)
class Window:
    """The size of a window: `least_s`, or the audio and `pad_s` of silence behind it where that is more."""

    least_s: float = 30.0
    pad_s: float = 0.0

    def frames(self, audio_frames: int) -> int:
        """The size for this much audio, in mel frames."""
        steps = ceil(max(self.least_s * FRAMES_PER_S, audio_frames + self.pad_s * FRAMES_PER_S) / STEP_FRAMES)
        return min(FULL_FRAMES, steps * STEP_FRAMES)


@dataclass(frozen=True)
class Plan:
    """How to decode with the weights of one model."""

    final: Window = Window()
    interim: Window = Window()
    timestamps: bool = True  # with timestamp tokens, as the weights were trained; also keeps them from looping
    floor: bool = True  # behind the audio is digital silence, as in OpenAI's own code; else zeros, as in faster-whisper
    greedy_first: bool = False
    again_below: float = -inf  # a text of a short window that is less certain is decoded again in the full one


FULL = Plan()
UNKNOWN = Plan(timestamps=False, floor=False, greedy_first=True)  # of unknown training
DECLARED = Plan(Window(2.0, 0.64), Window(2.0, 0.64), timestamps=False, floor=False, greedy_first=True)
# Measured on 244 English utterances (docs/benchmarks.md). Models without a row are decoded in full windows.
MEASURED = {
    "Systran/faster-whisper-tiny.en": Plan(Window(15.0, 5.0), Window(15.0, 5.0), again_below=-0.5),
    "Systran/faster-whisper-base": Plan(Window(15.0, 5.0), Window(15.0, 5.0), again_below=-0.5),
}


def plan_of(repository: str, directory: Path) -> Plan:
    """The plan for the weights of this hub id, or an empty one, in this directory. Raises ConfigError."""
    if declares_short_windows(directory):
        return DECLARED
    return MEASURED.get(repository, FULL) if repository else UNKNOWN


def declares_short_windows(directory: Path) -> bool:
    """Whether the weights in `directory` declare that they support short windows. Raises ConfigError."""
    path = directory / DECLARATION
    if not path.is_file():
        return False
    try:
        return json.loads(path.read_text())["short_windows"] is True
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f'{path} cannot be used: it should say {{"short_windows": true}}') from error


def pad(features: np.ndarray, frames: int, *, floor: bool) -> np.ndarray:
    """Features of shape (mels, n) as (1, mels, frames): cut, or padded with the lowest value or zeros."""
    fill = features.max() - FLOOR if floor and features.size else 0.0
    window = np.full((1, features.shape[0], frames), fill, np.float32)
    window[0, :, : features.shape[1]] = features[:, :frames]
    return window
