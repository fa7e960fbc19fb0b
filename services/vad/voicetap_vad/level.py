"""The level of one stream: the gain that Silero needs, and the values that `status` shows. Pure.

Silero misses quiet speech that Whisper, which scales its spectrogram, understands. The constants were chosen by the
share of words outside every segment, on real recordings at four levels.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ

FULL_SCALE = 32768.0
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
TARGET = 1.0  # full scale: the peak that Silero should get; half of it loses as few words, and more noise is speech
MAX_GAIN = 10 ** (58 / 20)  # so that silence is not amplified until it resembles speech
HALF_LIFE_S = 0.5  # of the envelope; longer ones lose the quiet words after loud ones

SILENT_DBFS = -120.0
LEVEL_FALL_DB, NOISE_RISE_DB = 10 * FRAME_S, 1.5 * FRAME_S  # per frame
CLIPPED = 32767 / FULL_SCALE
CLIPPING_WEIGHT = 1 - 0.5 ** (FRAME_S / 10)  # of the newest frame: a half-life of ten seconds
LOUD_DBFS = -30.0
SPEECHLESS_FRAMES = round(60 / FRAME_S)

_DECAY = 0.5 ** (FRAME_S / HALF_LIFE_S)
_FLOOR = TARGET / MAX_GAIN
# A peak at full scale decays to the floor in all but two of them; the last gain before matters, too.
FORGET_FRAMES = math.floor(math.log(_FLOOR, _DECAY)) + 2
_RAMP = np.arange(FRAME_SAMPLES, dtype=np.float32) / FRAME_SAMPLES


class LevelFollower:
    """A peak follower with a floor.

    Two that were fed the same latest FORGET_FRAMES peaks have the same state, bit for bit: max and multiplication are
    monotonic, rounding included, so that the envelope is that of one of the peaks alone.
    """

    def __init__(self) -> None:
        self._envelope = _FLOOR
        self._gain = MAX_GAIN

    def gains(self, peaks: Iterable[float]) -> np.ndarray:
        """The gains at the start and at the end of each frame, as rows. `peaks` are between 0 and 1.

        A gain falls at once, so that nothing is clipped, and rises over one frame.
        """
        return np.array([self._next_gains(peak) for peak in peaks], np.float32).reshape(-1, 2)

    def _next_gains(self, peak: float) -> tuple[float, float]:
        before = self._gain
        self._envelope = max(peak, self._envelope * _DECAY, _FLOOR)
        self._gain = max(1.0, TARGET / self._envelope)
        return min(before, self._gain), self._gain


class LevelMeter:
    """Level, noise floor and clipping of the latest sound. `warning` says that a minute of loud sound had no speech."""

    def __init__(self) -> None:
        self.level_dbfs = SILENT_DBFS  # RMS of the loudest frame of the last seconds
        self.noise_dbfs = SILENT_DBFS  # RMS of the quietest frame; rises slowly
        self.clipping = 0.0  # share of samples at full scale
        self.warning = ""
        self._is_empty = True
        self._speechless_frames = 0  # loud ones less quiet ones, since the last speech

    def update(self, samples: np.ndarray, peaks: Sequence[float]) -> None:
        """`samples`: one row per frame, between -1 and 1."""
        powers = np.einsum("ij,ij->i", samples, samples) / FRAME_SAMPLES
        for frame, peak, power in zip(samples, peaks, powers.tolist(), strict=True):
            clipped = np.count_nonzero(np.abs(frame) >= CLIPPED) if peak >= CLIPPED else 0
            self._on_frame(_dbfs(power), clipped / FRAME_SAMPLES)

    def on_speech(self) -> None:
        self._speechless_frames = 0
        self.warning = ""

    def _on_frame(self, level_dbfs: float, clipped_share: float) -> None:
        self.level_dbfs = max(level_dbfs, self.level_dbfs - LEVEL_FALL_DB)
        self.noise_dbfs = level_dbfs if self._is_empty else min(level_dbfs, self.noise_dbfs + NOISE_RISE_DB)
        self._is_empty = False
        self.clipping += CLIPPING_WEIGHT * (clipped_share - self.clipping)
        step = 1 if level_dbfs >= LOUD_DBFS else -1
        self._speechless_frames = min(max(0, self._speechless_frames + step), SPEECHLESS_FRAMES)
        if not self._speechless_frames:
            self.warning = ""
        elif self._speechless_frames == SPEECHLESS_FRAMES and not self.warning:
            self.warning = f"loud sound ({self.level_dbfs:.0f} dBFS), and no speech found in it for a minute"


def samples_of(pcm: bytes) -> np.ndarray:
    """s16le, whole frames: one row per frame, between -1 and 1, as float32."""
    return np.frombuffer(pcm, "<i2").reshape(-1, FRAME_SAMPLES) / np.float32(FULL_SCALE)


def peaks_of(samples: np.ndarray) -> list[float]:
    """The peak of each row."""
    peaks: list[float] = np.abs(samples).max(axis=1).tolist()
    return peaks


def amplified(samples: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """`samples`, each row by a gain that changes from the first to the second of its row in `gains`."""
    first, last = gains[:, :1], gains[:, 1:]
    return samples * (first + (last - first) * _RAMP)


def _dbfs(power: float) -> float:
    return max(SILENT_DBFS, 10 * math.log10(power)) if power > 0 else SILENT_DBFS
