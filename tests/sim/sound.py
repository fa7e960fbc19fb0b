"""The sound of the simulated world, and the model of vad that replaces Silero.

Speech is samples of value 1, silence is samples of value 0, and in the middle of each word one sample, its mark, holds
the number of the word. Audio contains a word if it contains its mark, however it is divided into frames and segments.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ

MARGIN = 4 * FRAME_SAMPLES  # samples of speech on either side of a mark: enough for an utterance of its own
_SPEECH, _SILENCE = b"\x01\x00", b"\x00\x00"
_DIGITS, _FIRST_DIGIT = 254, 2  # a mark's two bytes are neither 0 nor 1


@dataclass(frozen=True)
class Sound:
    """`words` maps the number of each word, in order, to the sample of its mark."""

    pcm: bytes
    words: dict[int, int]


def compose(dice: random.Random, seconds: float, first_word: int) -> Sound:
    """Sentences of a few words, some without breaths between the words; pauses; and coughs."""
    pcm, words = bytearray(_silence(dice, 2, 12)), {}
    while len(pcm) < seconds * SAMPLE_RATE_HZ * SAMPLE_BYTES:
        if dice.random() < 0.15:
            pcm += _SPEECH * dice.randrange(FRAME_SAMPLES, 3 * FRAME_SAMPLES)  # a cough
        else:
            breath = dice.random() < 0.7
            for _ in range(dice.choice((1, 1, 2, 3, 5, 12))):
                number, before = first_word + len(words), dice.randrange(MARGIN, 2 * MARGIN)
                words[number] = len(pcm) // SAMPLE_BYTES + before
                pcm += _SPEECH * before + _mark(number) + _SPEECH * dice.randrange(MARGIN, 2 * MARGIN)
                pcm += _silence(dice, 1, 5) if breath else b""
        pcm += _silence(dice, 4, 30)
    return Sound(bytes(pcm), words)


def words_in(pcm: bytes) -> list[int]:
    """The numbers of the words whose marks are in `pcm`, in order."""
    marks = pcm.translate(None, _SPEECH)
    low, high = marks[::2], marks[1::2]
    return [(a - _FIRST_DIGIT) + (b - _FIRST_DIGIT) * _DIGITS for a, b in zip(low, high, strict=True)]


def places_in(pcm: bytes) -> Iterator[tuple[int, int]]:
    """The words whose marks are in `pcm`, each with the sample of its mark."""
    for number in words_in(pcm):
        yield number, pcm.find(_mark(number)) // SAMPLE_BYTES


def is_spoken(pcm: bytes) -> bool:
    """Whether `pcm` contains no silence."""
    return b"\x00\x00\x00" not in pcm


def text_of(pcm: bytes) -> str:
    """The text of a perfect engine."""
    return " ".join(f"w{number}" for number in words_in(pcm))


def words_of(text: str) -> list[int]:
    """The inverse of `text_of`."""
    return [int(word.removeprefix("w")) for word in text.split()]


class SimulatedSilero:
    """Certain, except for frames in which speech begins or ends: there its result is random, as that of a model whose
    recurrent state differs."""

    def __init__(self, dice: random.Random):
        self._dice = dice

    def reset(self) -> None:
        """It has no state."""

    def probabilities(self, pcm: bytes, gains: object = None) -> list[float]:
        return [self._probability(pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)]

    def _probability(self, pcm: bytes) -> float:
        spoken = pcm.count(1)
        if spoken < FRAME_SAMPLES // 8:
            return 0.02
        return 0.95 if spoken > FRAME_SAMPLES * 7 // 8 else self._dice.random()


class SileroModule:
    """Replaces vad's module `silero`."""

    def __init__(self, dice: random.Random):
        self._dice = dice

    def model_path(self) -> None:
        return None

    def load(self, path: None) -> None:
        return None

    def Silero(self, session: None) -> SimulatedSilero:
        return SimulatedSilero(self._dice)


def _mark(number: int) -> bytes:
    return bytes((_FIRST_DIGIT + number % _DIGITS, _FIRST_DIGIT + number // _DIGITS))


def _silence(dice: random.Random, least: int, most: int) -> bytes:
    return _SILENCE * dice.randrange(least * FRAME_SAMPLES, most * FRAME_SAMPLES)
