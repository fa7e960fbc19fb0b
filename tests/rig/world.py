"""Speech with numbered frames, by which lost, doubled or reordered frames are found exactly.

The least significant bits of every frame carry its number. That is inaudible, so Silero detects the speech as usual,
and an engine that reads the numbers (rig.coded) publishes exactly which frames it received. A file source delivers the
samples unchanged, so everything published can be compared with what was played, frame by frame.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from . import speech

FRAME_SAMPLES = 512
NUMBER_BITS = 32
_PAUSE_S = 0.9  # longer than the endpoint, so that each sentence is an utterance


@dataclass(frozen=True)
class World:
    """A wav file of numbered frames. `sentences`: the first and last frame of the core of each sentence."""

    path: Path
    frames: int
    sentences: tuple[tuple[int, int], ...]

    def part(self, first: int, last: int, path: Path) -> Path:
        """Writes the frames `first` to `last` to a wav file, with their numbers."""
        pcm = speech.pcm_of(self.path)
        return speech.write_wav(path, pcm[(first - 1) * 2 * FRAME_SAMPLES : last * 2 * FRAME_SAMPLES])

    @property
    def seconds(self) -> float:
        return self.frames * FRAME_SAMPLES / speech.RATE_HZ


def build(directory: Path, sentences: int, voice: str = "slt") -> World:
    """Writes so many sentences by flite to `directory`/world.wav, with frames numbered from 1."""
    pcm, spans = bytearray(speech.silence(0.5)), []
    spoken = {}
    for number in range(sentences):
        text = speech.SENTENCES[number % len(speech.SENTENCES)]
        if text not in spoken:
            spoken[text] = speech.pcm_of(speech.synthesize(text, directory / "sentence.wav", voice).path)
        spans.append(_core(len(pcm), spoken[text]))
        pcm += spoken[text] + speech.silence(_PAUSE_S)
    coded = _with_numbers(pcm)
    path = speech.write_wav(directory / "world.wav", coded)
    return World(path, len(coded) // (2 * FRAME_SAMPLES), tuple(spans))


def numbers_in(pcm: bytes) -> list[int]:
    """The number of each frame, in order; 0 for a frame without one (silence that fills a gap)."""
    frames = range(0, len(pcm) - 2 * FRAME_SAMPLES + 1, 2 * FRAME_SAMPLES)
    return [_number_of(pcm[start : start + 2 * NUMBER_BITS]) for start in frames]


def aligned(pcm: bytes) -> bytes:
    """Sound recorded from a device, from its first whole numbered frame on; empty if it has none."""
    middle = len(pcm) // 4 * 2
    for offset in range(0, 2 * FRAME_SAMPLES, 2):
        first, second, third = (numbers_in(pcm[middle + offset :][: 6 * FRAME_SAMPLES]) + [0, 0, 0])[:3]
        if first and (second, third) == (first + 1, first + 2):
            return pcm[(middle + offset) % (2 * FRAME_SAMPLES) :]
    return b""


def _core(start_bytes: int, pcm: bytes) -> tuple[int, int]:
    """Frames well inside a sentence: flite adds silence at both ends, which a segment need not contain."""
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
