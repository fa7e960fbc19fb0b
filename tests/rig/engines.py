"""Real engines for tests, and speech for them."""

import subprocess
import wave
from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest

from voicetap.settings import Settings, TranscribeSettings
from voicetap_transcribe.engines.faster_whisper import FasterWhisper

SILENCE = bytes(32_000)  # 1 s


def no_progress(detail: str) -> None:
    """Ignores progress."""


def settings(**transcribe: object) -> Settings:
    return Settings(transcribe=replace(TranscribeSettings(), **transcribe))


def load_whisper(model: Path, **transcribe: object) -> FasterWhisper:
    engine = FasterWhisper()
    engine.load(settings(model=str(model), **transcribe), no_progress)
    return engine


def spoken(text: str, directory: Path, voice: str = "rms") -> bytes:
    """flite's speech as s16le mono 16 kHz, with 0.3 s of silence around it."""
    if not which("flite"):
        pytest.skip("flite is not installed (apt install flite)")
    path = directory / "spoken.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return bytes(9600) + file.readframes(file.getnframes()) + bytes(9600)
