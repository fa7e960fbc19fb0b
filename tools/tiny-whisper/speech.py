"""Says a sentence with espeak-ng or flite, and tells when each word was said."""

import ctypes
import random
import subprocess
import tempfile
import wave
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import soxr

RATE_HZ = 16_000
ACCENTS = ("en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland")
VARIANTS = ("", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
FLITE_SHARE = 0.45
SOUNDS = (  # as flite names them
    *"aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k".split(),
    *"l m n ng ow oy p r s sh t th uh uw v w y z zh".split(),
)
_SYNCHRONOUS, _UTF8, _END, _WORD, _LAST = 2, 1, 0, 1, 5  # of espeak-ng's speak_lib.h
_SPEED, _PITCH = 1, 3
_SILENCE = 1e-3


@dataclass(frozen=True)
class Span:
    """A word, and when it is said."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Spoken:
    """Sound, 16 kHz mono float32, and the words in it."""

    sound: np.ndarray
    spans: list[Span]

    @property
    def text(self) -> str:
        return " ".join(span.word for span in self.spans)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "unique", "text_position", "length", "audio_position", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass
class Espeak:
    """The library rather than the program: ten times as fast, and it tells where words begin."""

    pcm: bytearray = field(default_factory=bytearray)
    starts: dict[int, int] = field(default_factory=dict)  # the letter a word begins with: sample

    def __post_init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 200, None, 0)
        self._callback = _CALLBACK(self._heard)  # kept, or it would be collected
        self._library.espeak_SetSynthCallback(self._callback)

    def _heard(self, samples: ctypes.POINTER, number: int, events: ctypes.POINTER) -> int:
        if samples and number > 0:
            self.pcm += ctypes.string_at(samples, 2 * number)
        for event in iter(iter(events).__next__, None):
            if event.type == _END:
                return 0
            if event.type in (_WORD, _LAST):
                self.starts.setdefault(event.text_position - 1, event.sample)

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int) -> Spoken:
        self.pcm.clear()
        self.starts.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(_SPEED, words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        raw = text.encode() + b"\0"
        self._library.espeak_Synth(raw, len(raw), 0, 1, 0, _UTF8, None, None)
        sound = np.frombuffer(bytes(self.pcm), "<i2").astype(np.float32) / 32768
        return _resampled(sound, _spans(text, self.starts, len(sound), self._rate_hz), self._rate_hz)


def _spans(text: str, starts: dict[int, int], samples: int, rate_hz: int) -> list[Span]:
    """espeak-ng joins small words to their neighbours; what has no beginning of its own shares by letters."""
    known = {**starts, 0: 0}
    known = {letter: sample for letter, sample in known.items() if letter < len(text)} | {len(text) + 1: samples}
    begins = [0, *(place + 1 for place, letter in enumerate(text) if letter == " "), len(text) + 1]
    times = np.interp(begins, sorted(known), [known[letter] for letter in sorted(known)]) / rate_hz
    return [Span(*each) for each in zip(text.split(), times[:-1], times[1:], strict=True)]


def flite(text: str, voice: str, stretch: float, pitch_hz: float) -> Spoken:
    """Words are told apart by how many sounds each has when said alone."""
    with tempfile.NamedTemporaryFile(suffix=".wav", dir="/dev/shm") as file:
        settings = ["--setf", f"duration_stretch={stretch}", "--setf", f"int_f0_target_mean={pitch_hz}"]
        printed = _flite([*settings, "-voice", voice, "-psdur", "-t", text, "-o", file.name])
        with wave.open(file.name) as recording:
            rate_hz = recording.getframerate()
            sound = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32) / 32768
    ends_s = [float(each.partition(":")[2]) for each in printed.split() if not each.startswith("pau")]
    first_s = float(printed.split()[0].partition(":")[2])
    edges_s = np.array([first_s, *ends_s])
    passed = np.cumsum([0, *(len(sounds(word, voice)) for word in text.split())])
    times_s = np.interp(passed * (len(ends_s) / passed[-1]), np.arange(len(edges_s)), edges_s)
    spans = [Span(*each) for each in zip(text.split(), times_s[:-1], times_s[1:], strict=True)]
    return _resampled(sound, spans, rate_hz)


@cache
def sounds(word: str, voice: str = "slt") -> list[str]:
    """Those of a word that is said alone."""
    printed = _flite(["-voice", voice, "-ps", "-t", word, "none"])
    return [sound for sound in printed.split() if sound != "pau"]


def _flite(arguments: list[str]) -> str:
    return subprocess.run(["flite", *arguments], check=True, capture_output=True, text=True).stdout


def _resampled(sound: np.ndarray, spans: list[Span], rate_hz: float) -> Spoken:
    if rate_hz == RATE_HZ:
        return Spoken(sound, spans)
    return Spoken(soxr.resample(sound, rate_hz, RATE_HZ), spans)


def varied(spoken: Spoken, speed: float) -> Spoken:
    """Faster and higher, or slower and lower: another speaker."""
    sound = soxr.resample(spoken.sound, RATE_HZ * speed, RATE_HZ)
    return Spoken(sound, [Span(span.word, span.start_s / speed, span.end_s / speed) for span in spoken.spans])


def trimmed(spoken: Spoken) -> Spoken:
    """Without the silence around it."""
    begin, end = (int(RATE_HZ * time_s) for time_s in (spoken.spans[0].start_s, spoken.spans[-1].end_s))
    loud = begin + np.flatnonzero(np.abs(spoken.sound[begin:end]) > _SILENCE)
    first, last = loud[0], loud[-1] + 1
    shift_s, end_s = first / RATE_HZ, (last - first) / RATE_HZ
    clip = [np.clip((span.start_s - shift_s, span.end_s - shift_s), 0, end_s) for span in spoken.spans]
    spans = [Span(span.word, *map(float, times)) for span, times in zip(spoken.spans, clip, strict=True)]
    return Spoken(spoken.sound[first:last], spans)


def anybody(text: str, espeak: Espeak, random: random.Random) -> Spoken:
    """Said by a voice, at a speed and pitch that chance decides."""
    if random.random() < FLITE_SHARE:
        pitch_hz = random.uniform(85, 220)
        spoken = flite(text, random.choice(FLITE_VOICES), random.uniform(0.8, 1.25), pitch_hz)
    else:
        voice = f"{random.choice(ACCENTS)}+{random.choice(VARIANTS)}".removesuffix("+")
        spoken = espeak.say(text, voice, random.randint(120, 200), random.randint(25, 75))
    return trimmed(varied(spoken, random.uniform(0.92, 1.08)))
