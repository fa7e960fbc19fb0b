"""Speech with known onsets and ends: flite's sentences with pauses, in a wav file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rig import speech

PAUSE_S = 2.5
SENTENCES_EACH = 2  # in one utterance of about five seconds, the length RealtimeSTT was measured with
AUDIBLE = 300  # of 32768


@dataclass(frozen=True)
class Spoken:
    """Onset and end of one utterance, by its energy; seconds from the start of the file, or on the monotonic clock."""

    onset_s: float
    end_s: float

    def later(self, seconds: float) -> "Spoken":
        return Spoken(self.onset_s + seconds, self.end_s + seconds)


@dataclass(frozen=True)
class Known:
    """A wav file; `first_s` is the time of its first sample that is not zero."""

    path: Path
    spoken: tuple[Spoken, ...]
    seconds: float
    first_s: float


def build(directory: Path, utterances: int, *, name: str = "known", lead_s: float = PAUSE_S, first: int = 0) -> Known:
    """Writes `lead_s` of silence, then the utterances with PAUSE_S after each, beginning with sentence `first`."""
    pcm, spoken = bytearray(speech.silence(lead_s)), []
    for number in range(first, first + utterances):
        texts = (speech.SENTENCES[(number + offset) % len(speech.SENTENCES)] for offset in range(SENTENCES_EACH))
        utterance = b"".join(speech.pcm_of(speech.synthesize(text, directory / "sentence.wav").path) for text in texts)
        spoken.append(_audible(utterance).later(_seconds(pcm)))
        pcm += utterance + speech.silence(PAUSE_S)
    path = speech.write_wav(directory / f"{name}.wav", bytes(pcm))
    first_s = int(np.flatnonzero(np.frombuffer(pcm, "<i2"))[0]) / speech.RATE_HZ
    return Known(path, tuple(spoken), _seconds(pcm), first_s)


def _audible(pcm: bytes) -> Spoken:
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(int)) > AUDIBLE)
    return Spoken(int(loud[0]) / speech.RATE_HZ, (int(loud[-1]) + 1) / speech.RATE_HZ)


def _seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / speech.RATE_HZ
