"""The level of one stream: the gain that Silero needs. Pure.

Silero misses quiet speech that Whisper, which scales its spectrogram, understands. The constants were chosen by the
share of words outside every segment, on real recordings at four levels.
"""

from collections.abc import Iterable

import numpy as np

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ

FULL_SCALE = 32768.0
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
TARGET = 0.5  # of full scale: the peak that Silero should get
MAX_GAIN = 10 ** (52 / 20)  # so that silence is not amplified until it resembles speech
HALF_LIFE_S = 1.0  # of the envelope
FORGET_FRAMES = 303  # an envelope at full scale is at the floor by then: older peaks change no gain

_DECAY = 0.5 ** (FRAME_S / HALF_LIFE_S)
_FLOOR = TARGET / MAX_GAIN
_RAMP = np.arange(FRAME_SAMPLES, dtype=np.float32) / FRAME_SAMPLES


class LevelFollower:
    """A peak follower with a floor.

    Two that were fed the same latest FORGET_FRAMES peaks have the same state, bit for bit.
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
