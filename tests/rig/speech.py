"""Speech with known words: synthesised by flite and espeak-ng, and recordings of real voices where available."""

import json
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soxr

RATE_HZ = 16_000
RECORDINGS = Path(__file__).parents[3] / "shared/audio"  # beside the checkout; absent in a plain clone
SENTENCES = (  # ten that flite's voices pronounce clearly
    "the child almost hurt the small dog",
    "drop the two when you add the figures",
    "at that high level the air is pure",
    "the boy was there when the sun rose",
    "a rod is used to catch pink salmon",
    "the source of the huge river is the clear spring",
    "kick the ball straight and follow through",
    "help the woman get back to her feet",
    "a pot of tea helps to pass the evening",
    "the soft cushion broke the man's fall",
)
_WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


@dataclass(frozen=True)
class Recording:
    """A wav file, 16 kHz mono s16, and its words."""

    path: Path
    text: str


def have(program: str) -> bool:
    return shutil.which(program) is not None


def have_flite() -> bool:
    return have("flite")


def synthesize(text: str, path: Path, voice: str = "slt") -> Recording:
    """Writes `text`, spoken by flite, into a wav file."""
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True, capture_output=True)
    return Recording(path, text)


def synthesize_by_espeak(text: str, path: Path, voice: str = "en-us") -> Recording:
    """Writes `text`, spoken by espeak-ng, into a wav file."""
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True, capture_output=True)
    with wave.open(str(path)) as file:
        rate_hz, pcm = file.getframerate(), file.readframes(file.getnframes())
    write_wav(path, soxr.resample(np.frombuffer(pcm, "<i2"), rate_hz, RATE_HZ).tobytes())
    return Recording(path, text)


SPEAKERS = {"flite": synthesize, "espeak-ng": synthesize_by_espeak}


def recordings(directory: Path) -> list[Recording]:
    """Ten recordings: real voices where available, otherwise flite's, written to `directory`."""
    if (RECORDINGS / "manifest.json").exists():
        listed = json.loads((RECORDINGS / "manifest.json").read_text())
        return [Recording(RECORDINGS / item["file"], item["text"]) for item in listed]
    return [synthesize(text, directory / f"{number}.wav") for number, text in enumerate(SENTENCES)]


def pcm_of(path: Path) -> bytes:
    """The samples of a 16 kHz mono s16 wav file."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 1, 2), path
        return file.readframes(file.getnframes())


def write_wav(path: Path, pcm: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(pcm)
    return path


def silence(seconds: float) -> bytes:
    return bytes(2 * int(seconds * RATE_HZ))


def word_error_rate(references: list[str], hypotheses: list[str]) -> float:
    """Word errors per reference word, over all texts; 0.25 is one word in four."""
    return jiwer.wer(references, hypotheses, reference_transform=_WORDS, hypothesis_transform=_WORDS)
