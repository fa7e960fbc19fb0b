"""The recordings of bench/accuracy.py: clean, noisy, reverberant, with short pauses, and without speech."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rig import speech

RATE_HZ = speech.RATE_HZ
LEAD_S = 1.0
PAUSE_S, SHORT_PAUSE_S, BREATH_S = 1.2, 0.4, 0.12
REVERBERATION_S = 0.5  # until the echo is 60 dB weaker, as in a living room
VOICES = ("slt", "rms", "awb")
SPEECH_LEVEL = 6000  # of 32768

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Sentence:
    """The words, and the samples between which they are spoken."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Track:
    """A recording under one condition."""

    name: str
    samples: np.ndarray
    sentences: tuple[Sentence, ...] = ()
    pause_s: float = 0.0  # between them

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE_HZ

    def write(self, directory: Path) -> Path:
        return speech.write_wav(directory / f"{self.name}.wav", pcm(self.samples))


def pcm(samples: np.ndarray) -> bytes:
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def all_tracks(texts: list[str], directory: Path, seed: int, non_speech_s: float) -> Iterator[Track]:
    random = np.random.default_rng(seed)
    spoken = [_spoken(text, VOICES[number % len(VOICES)], directory) for number, text in enumerate(texts)]
    yield from (
        _track("clean", texts, spoken, PAUSE_S),
        *(_changed(f"noise-{snr_db}-db", texts, spoken, noisy(snr_db), random) for snr_db in (20, 10, 5)),
        _changed("reverberation", texts, spoken, reverberant, random),
        _track("short-gaps", texts, spoken, SHORT_PAUSE_S),
        _track("monologue", texts, spoken, BREATH_S),
        Track("non-speech", non_speech(non_speech_s, random)),
    )


def _spoken(text: str, voice: str, directory: Path) -> np.ndarray:
    return np.frombuffer(speech.pcm_of(speech.synthesize(text, directory / "sentence.wav", voice).path), "<i2").astype(
        float
    )


def _track(name: str, texts: list[str], spoken: list[np.ndarray], pause_s: float) -> Track:
    pause, parts, sentences = np.zeros(int(pause_s * RATE_HZ)), [np.zeros(int(LEAD_S * RATE_HZ))], []
    for text, sound in zip(texts, spoken, strict=True):
        start = sum(map(len, parts))
        sentences.append(Sentence(text, start, start + len(sound)))
        parts += [sound, pause]
    return Track(name, np.concatenate([*parts, np.zeros(2 * RATE_HZ)]), tuple(sentences), pause_s)


def _changed(
    name: str, texts: list[str], spoken: list[np.ndarray], change: Change, random: np.random.Generator
) -> Track:
    clean = _track(name, texts, spoken, PAUSE_S)
    return replace(clean, samples=change(clean.samples, random))


def noisy(snr_db: float) -> Change:
    """Adds noise; the ratio is to the power of the speech without its pauses."""

    def change(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        speech_power = np.mean(samples[np.abs(samples) > 300] ** 2)
        noise = pink(len(samples), random)
        return samples + noise * np.sqrt(speech_power / np.mean(noise**2) / 10 ** (snr_db / 10))

    return change


def reverberant(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Convolves with an impulse and an exponentially decaying noise tail."""
    times_s = np.arange(int(REVERBERATION_S * RATE_HZ)) / RATE_HZ
    tail = random.standard_normal(len(times_s)) * 10 ** (-3 * times_s / REVERBERATION_S)
    echo = 0.7 * tail / np.sqrt(np.sum(tail**2))
    echo[0] = 1.0
    size = 1 << (len(samples) + len(echo)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)]
    return wet * (np.abs(samples).max() / np.abs(wet).max())


def pink(number: int, random: np.random.Generator, slope: float = 0.5) -> np.ndarray:
    """Noise whose power falls with frequency: slope 0 is white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(random.standard_normal(number))
    spectrum /= np.maximum(np.fft.rfftfreq(number), 20 / RATE_HZ) ** slope
    noise = np.fft.irfft(spectrum, number)
    return noise / noise.std()


def non_speech(seconds: float, random: np.random.Generator) -> np.ndarray:
    """Silence, noises, hum, knocks, typing and music, in sequence."""
    number = int(seconds / len(_KINDS) * RATE_HZ)
    return np.concatenate([SPEECH_LEVEL * 0.5 * kind(number, random) for kind in _KINDS])


def _silence(number: int, random: np.random.Generator) -> np.ndarray:
    return np.zeros(number)


def _bursts(number: int, random: np.random.Generator, per_s: float, fade_s: float) -> np.ndarray:
    """Short noises at random times: knocks with a slow decay, typing with a fast one."""
    sound, burst_s = np.zeros(number), np.arange(int(8 * fade_s * RATE_HZ)) / RATE_HZ
    for start in random.integers(0, number - len(burst_s), int(per_s * number / RATE_HZ)):
        sound[start : start + len(burst_s)] += random.standard_normal(len(burst_s)) * np.exp(-burst_s / fade_s)
    return sound


def _hum(number: int, random: np.random.Generator) -> np.ndarray:
    times_s = np.arange(number) / RATE_HZ
    return sum(np.sin(2 * np.pi * 50 * harmonic * times_s) / harmonic for harmonic in range(1, 8))


def _music(number: int, random: np.random.Generator) -> np.ndarray:
    """Chords of three decaying tones, two a second."""
    note_s = np.arange(RATE_HZ // 2) / RATE_HZ
    chords = [
        sum(
            np.sin(2 * np.pi * tone_hz * harmonic * note_s) * np.exp(-4 * note_s) / harmonic
            for tone_hz in 220 * 2 ** (random.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False) / 12)
            for harmonic in (1, 2, 3)
        )
        for _ in range(number // len(note_s) + 1)
    ]
    return np.concatenate(chords)[:number]


_KINDS: tuple[Callable[[int, np.random.Generator], np.ndarray], ...] = (
    _silence,
    lambda number, random: pink(number, random, 0.0),
    lambda number, random: pink(number, random, 0.5),
    lambda number, random: pink(number, random, 1.0),
    _hum,
    lambda number, random: _bursts(number, random, per_s=1.5, fade_s=0.03),
    lambda number, random: _bursts(number, random, per_s=8, fade_s=0.004),
    _music,
)
