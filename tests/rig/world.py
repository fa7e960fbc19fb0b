"""A world in which a lost, doubled or swapped piece of speech is seen exactly.

Spoken sentences with pauses, in which the least significant bits of every frame carry the frame's number: nobody hears
it, Silero hears speech, and an engine that reads the numbers back says exactly which frames it was given. A file source
delivers the samples bit by bit, so what is published can be compared with what was played, frame by frame.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from . import speech

FRAME_SAMPLES = 512
NUMBER_BITS = 32
_PAUSE_S = 0.9  # longer than the endpoint, so that sentences come out one by one


@dataclass(frozen=True)
class World:
    """A coded wav file; `sentences` are the frames [first, last] that hold the core of each sentence."""

    path: Path
    frames: int
    sentences: tuple[tuple[int, int], ...]

    def part(self, first: int, last: int, path: Path) -> Path:
        """The frames `first` to `last` as a wav file of their own, numbered as they were."""
        pcm = speech.pcm_of(self.path)
        return speech.write_wav(path, pcm[(first - 1) * 2 * FRAME_SAMPLES : last * 2 * FRAME_SAMPLES])

    @property
    def seconds(self) -> float:
        return self.frames * FRAME_SAMPLES / speech.RATE_HZ


def make(directory: Path, sentences: int, voice: str = "slt") -> World:
    """`sentences` sentences by flite, each frame numbered from 1, in `directory`/world.wav."""
    pcm, spans = bytearray(speech.silence(0.5)), []
    spoken = {}
    for number in range(sentences):
        text = speech.SENTENCES[number % len(speech.SENTENCES)]
        if text not in spoken:
            spoken[text] = speech.pcm_of(speech.say(text, directory / "sentence.wav", voice).path)
        spans.append(_core(len(pcm), spoken[text]))
        pcm += spoken[text] + speech.silence(_PAUSE_S)
    coded = _with_numbers(pcm)
    path = speech.write_wav(directory / "world.wav", coded)
    return World(path, len(coded) // (2 * FRAME_SAMPLES), tuple(spans))


def numbers_in(pcm: bytes) -> list[int]:
    """The frame numbers in decoded audio, in order; 0 where a frame carries none (silence put in for a gap)."""
    frames = range(0, len(pcm) - 2 * FRAME_SAMPLES + 1, 2 * FRAME_SAMPLES)
    return [_number_of(pcm[start : start + 2 * NUMBER_BITS]) for start in frames]


def aligned(pcm: bytes) -> bytes:
    """From the first whole frame on, for sound that came through a device, which knows nothing of our frames."""
    middle = len(pcm) // 4 * 2
    for offset in range(0, 2 * FRAME_SAMPLES, 2):
        first, second, third = (numbers_in(pcm[middle + offset :][: 6 * FRAME_SAMPLES]) + [0, 0, 0])[:3]
        if first and (second, third) == (first + 1, first + 2):
            return pcm[(middle + offset) % (2 * FRAME_SAMPLES) :]
    return b""


def _core(start_bytes: int, pcm: bytes) -> tuple[int, int]:
    """Frames well inside a sentence: flite leaves silence at both ends, which a cut need not hold."""
    margin_bytes = 2 * speech.RATE_HZ * 3 // 10
    frame_bytes = 2 * FRAME_SAMPLES
    return ((start_bytes + margin_bytes) // frame_bytes + 1, (start_bytes + len(pcm) - margin_bytes) // frame_bytes + 1)


def _with_numbers(pcm: bytes | bytearray) -> bytes:
    samples = list(struct.unpack(f"<{len(pcm) // 2}h", pcm))
    for frame in range(len(samples) // FRAME_SAMPLES):
        for bit in range(NUMBER_BITS):
            place = frame * FRAME_SAMPLES + bit
            samples[place] = (samples[place] & ~1) | ((frame + 1) >> bit & 1)
    whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
    return struct.pack(f"<{whole}h", *samples[:whole])


def _number_of(pcm: bytes) -> int:
    samples = struct.unpack(f"<{NUMBER_BITS}h", pcm)
    return sum((sample & 1) << bit for bit, sample in enumerate(samples))
