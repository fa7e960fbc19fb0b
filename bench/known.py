"""Speech of which is known when it begins and ends: flite's sentences with pauses, in a wav file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rig import speech

PAUSE_S = 2.5
SENTENCES_EACH = 2  # in one utterance, which is then about five seconds long, as RealtimeSTT was measured with
AUDIBLE = 300  # of 32768


@dataclass(frozen=True)
class Spoken:
    """One utterance, by its energy; seconds from the start of the file, or on the clock of whoever says so."""

    onset_s: float
    end_s: float

    def later(self, seconds: float) -> "Spoken":
        return Spoken(self.onset_s + seconds, self.end_s + seconds)


@dataclass(frozen=True)
class Known:
    """`first_s` is where the first sample is that is not silent."""

    path: Path
    spoken: tuple[Spoken, ...]
    seconds: float
    first_s: float


def make(directory: Path, utterances: int, *, name: str = "known", lead_s: float = PAUSE_S, first: int = 0) -> Known:
    """`lead_s` of silence, then the utterances with PAUSE_S after each. `first` says with which sentence to begin."""
    pcm, spoken = bytearray(speech.silence(lead_s)), []
    for number in range(first, first + utterances):
        texts = (speech.SENTENCES[(number + offset) % len(speech.SENTENCES)] for offset in range(SENTENCES_EACH))
        said = b"".join(speech.pcm_of(speech.synthesize(text, directory / "sentence.wav").path) for text in texts)
        spoken.append(_audible(said).later(_seconds(pcm)))
        pcm += said + speech.silence(PAUSE_S)
    path = speech.write_wav(directory / f"{name}.wav", bytes(pcm))
    first_s = int(np.flatnonzero(np.frombuffer(pcm, "<i2"))[0]) / speech.RATE_HZ
    return Known(path, tuple(spoken), _seconds(pcm), first_s)


def _audible(pcm: bytes) -> Spoken:
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(int)) > AUDIBLE)
    return Spoken(int(loud[0]) / speech.RATE_HZ, (int(loud[-1]) + 1) / speech.RATE_HZ)


def _seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / speech.RATE_HZ
