"""Makes the windows that training looks at: sentences with silence, noise and echo around them, as features and labels.

python windows.py DIRECTORY [--sentences N] [--seed N]
"""

import argparse
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor

import text
from speech import RATE_HZ, SOUNDS, Espeak, Span, Spoken, anybody, sounds
from tokens import Tokens

SHARD = 500  # sentences
LONGEST_S = 26.0
LABEL_HZ = 50  # of the encoder's positions
TOGETHER, NOISE_ALONE, CUT_SHORT, BEGUN_LATE = 0.4, 0.06, 0.15, 0.08  # windows per sentence; the last two are shares
SEVERAL = (2, 2, 3, 4, 6, 8)  # sentences, with pauses between them or none
NOISY, ECHOING, TIMED, PROMPTED = 0.65, 0.2, 0.15, 0.1
HEARD_ENOUGH = 0.8  # of a word at the end of a window
IGNORED = -100


@dataclass(frozen=True)
class Labels:
    """What the decoder is given, what it shall say, and where the encoder hears it (0, 0: nowhere)."""

    given: list[int]
    wanted: list[int]
    spans: list[tuple[int, int]]


def joined(parts: list[Spoken], chance: random.Random) -> tuple[Spoken, list[list[Span]]]:
    """Sentences one after another, with silence around them."""
    pieces, sentences, at_s = [], [], 0.0
    for part in parts:
        quiet = np.zeros(int(RATE_HZ * chance.uniform(0.0, 0.7)), np.float32)
        at_s += len(quiet) / RATE_HZ
        sentences.append([Span(span.word, span.start_s + at_s, span.end_s + at_s) for span in part.spans])
        at_s += len(part.sound) / RATE_HZ
        pieces += [quiet, part.sound * np.float32(chance.uniform(0.7, 1.0))]
    pieces.append(np.zeros(int(RATE_HZ * chance.uniform(0.02, 1.0)), np.float32))
    return Spoken(np.concatenate(pieces), sum(sentences, [])), sentences


def cut(whole: Spoken, sentences: list[list[Span]], begin_s: float, end_s: float) -> tuple[Spoken, list[list[Span]]]:
    """What is left between two instants, where words may be cut by the second."""

    def left(span: Span) -> bool:
        return span.start_s >= begin_s and span.start_s + HEARD_ENOUGH * (span.end_s - span.start_s) <= end_s

    kept = [[Span(s.word, s.start_s - begin_s, s.end_s - begin_s) for s in each if left(s)] for each in sentences]
    kept = [each for each in kept if each]
    return Spoken(whole.sound[int(RATE_HZ * begin_s) : int(RATE_HZ * end_s)], sum(kept, [])), kept


def noise(samples: int, chance: random.Random, dice: np.random.Generator) -> np.ndarray:
    """White, pink or brown, with a peak of about one."""
    spectrum = np.fft.rfft(dice.standard_normal(samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20 * samples / RATE_HZ) ** chance.choice((0, 0.5, 1))
    sound = np.fft.irfft(spectrum, samples).astype(np.float32)
    return sound / (3 * sound.std() + 1e-9)


def nothing_said(chance: random.Random, dice: np.random.Generator) -> np.ndarray:
    """Noise, notes or knocks."""
    samples = int(RATE_HZ * chance.uniform(0.5, 5.0))
    sound = noise(samples, chance, dice) * 10 ** chance.uniform(-4, -0.5)
    kind = chance.random()
    for _ in range(chance.randint(1, 8) if kind < 0.5 else 0):
        time_s = np.arange(samples) / RATE_HZ - chance.uniform(0, samples / RATE_HZ)
        fall = np.where(time_s > 0, np.exp(-np.maximum(time_s, 0) * chance.choice((2, 8, 60))), 0)
        note = sum(np.sin(6.2832 * part * 55 * 2 ** (chance.randint(0, 48) / 12) * time_s) / part for part in (1, 2, 3))
        sound += (fall * note * chance.uniform(0.02, 0.3)).astype(np.float32)
    return sound.astype(np.float32)


def roughened(sound: np.ndarray, chance: random.Random, dice: np.random.Generator) -> np.ndarray:
    """As a microphone in a room hears it."""
    if chance.random() < ECHOING:
        time_s = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
        echo = dice.standard_normal(len(time_s)) * np.exp(-6.9 * time_s / chance.uniform(0.1, 0.4))
        echo *= chance.uniform(0.2, 0.7) / np.linalg.norm(echo)
        echo[0] = 1.0
        size = len(sound) + len(echo)
        sound = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(echo, size), size)[: len(sound)]
    if chance.random() < NOISY:
        level = 3 * sound.std() / 10 ** (chance.uniform(8, 45) / 20)
        sound = sound + level * noise(len(sound), chance, dice)
    peak = 10 ** chance.uniform(-1.5, -0.05)
    return (sound * (peak / (np.abs(sound).max() + 1e-6))).astype(np.float32)


def labels(sentences: list[list[Span]], is_whole: bool, length: int, tokens: Tokens, chance: random.Random) -> Labels:
    """For a window of `length` positions: with times or without, and now and then with a prompt."""
    said, spans = [], []
    is_timed = chance.random() < TIMED
    for sentence in sentences:
        inside = [(tokens.word(span.word), _positions(span, length)) for span in sentence]
        if is_timed:
            inside.insert(0, (tokens.time(sentence[0].start_s), (0, 0)))
        if is_timed and (is_whole or sentence is not sentences[-1]):
            inside.append((tokens.time(min(sentence[-1].end_s, length / LABEL_HZ)), (0, 0)))
        said += [token for token, _ in inside]
        spans += [span for _, span in inside]
    opening = [] if is_timed else [tokens.special("notimestamps")]
    prompt = _prompt(tokens, chance) if chance.random() < PROMPTED else []
    given = [*prompt, tokens.special("startoftranscript"), *opening, *said]
    wanted = [*[IGNORED] * len(prompt), *opening, *said, tokens.special("endoftext")]
    tail = (min(max((span[1] for span in spans), default=0), length - 1), length)
    return Labels(given, wanted, [*[(0, 0)] * (len(prompt) + len(opening)), *spans, tail])


def no_speech(tokens: Tokens, chance: random.Random) -> Labels:
    """Told to speak all the same, it shall find every word equally unlikely."""
    said = chance.choices(tokens.words, k=chance.randint(1, 3))
    given = [tokens.special("startoftranscript"), tokens.special("notimestamps"), *said]
    return Labels(given, [tokens.special("nospeech"), *said, tokens.special("endoftext")], [(0, 0)] * len(given))


def here(spans: list[Span], length: int) -> torch.Tensor:
    """The word at each position, 0 for silence."""
    words = torch.zeros(length, dtype=torch.int16)
    for span in spans:
        words[slice(*_positions(span, length))] = 1 + text.words().index(span.word)
    return words


def sounds_here(spans: list[Span], length: int) -> torch.Tensor:
    """The sound at each position, 0 for silence: those of a word last equally long, which is near enough."""
    found = torch.zeros(length, dtype=torch.int16)
    for span in spans:
        edges_s = np.linspace(span.start_s, span.end_s, len(sounds(span.word)) + 1)
        for sound, start_s, end_s in zip(sounds(span.word), edges_s[:-1], edges_s[1:], strict=True):
            found[int(LABEL_HZ * start_s) : round(LABEL_HZ * end_s)] = 1 + SOUNDS.index(sound)
    return found


def _prompt(tokens: Tokens, chance: random.Random) -> list[int]:
    sentences = [text.sentence(chance) for _ in range(chance.choice((1, 1, 1, 2, 8)))]
    return [tokens.special("startofprev"), *tokens.tokenizer.encode("".join(f" {each}" for each in sentences)).ids]


def _positions(span: Span, length: int) -> tuple[int, int]:
    start = min(int(LABEL_HZ * span.start_s), length - 1)
    return start, min(max(start + 1, round(LABEL_HZ * span.end_s)), length)


class Maker:
    """Windows out of sentences, by chance; the same for the same seed."""

    def __init__(self, seed: int):
        self._chance, self._dice = random.Random(seed), np.random.default_rng(seed)
        self._espeak, self._tokens, self._features = Espeak(), Tokens(), FeatureExtractor()

    def shard(self) -> list[dict]:
        spoken = [self._spoken() for _ in range(SHARD)]
        windows = [self._window([each]) for each in spoken]
        several = (self._chance.choice(SEVERAL) for _ in range(int(TOGETHER * SHARD)))
        windows += [self._window(self._chance.sample(spoken, number)) for number in several]
        windows += [self._quiet() for _ in range(int(NOISE_ALONE * SHARD))]
        return [window for window in windows if window]

    def _spoken(self) -> Spoken:
        texts = iter(lambda: text.sentence(self._chance), None)
        return anybody(next(each for each in texts if not text.is_held_out(each)), self._espeak, self._chance)

    def _window(self, parts: list[Spoken]) -> dict | None:
        whole, sentences = joined(parts, self._chance)
        end_s = len(whole.sound) / RATE_HZ
        is_whole = self._chance.random() > CUT_SHORT
        begins = [span.start_s for span in whole.spans] if self._chance.random() < BEGUN_LATE else [0.0]
        begin_s = self._chance.choice(begins)
        if not is_whole:
            end_s = begin_s + self._chance.uniform(0.4, 1.0) * (end_s - begin_s)
        window, sentences = cut(whole, sentences, begin_s, end_s)
        if not sentences or not 0.3 < len(window.sound) / RATE_HZ < LONGEST_S:
            return None
        features = self._heard(roughened(window.sound, self._chance, self._dice))
        length = len(features) // 2
        said = labels(sentences, is_whole, length, self._tokens, self._chance)
        return _record(features, window.spans, said)

    def _quiet(self) -> dict:
        features = self._heard(nothing_said(self._chance, self._dice))
        return _record(features, [], no_speech(self._tokens, self._chance))

    def _heard(self, sound: np.ndarray) -> torch.Tensor:
        features = torch.from_numpy(self._features(sound)).T
        return features[: len(features) // 2 * 2].to(torch.float16).clone()


def _record(features: torch.Tensor, spans: list[Span], said: Labels) -> dict:
    length = len(features) // 2
    return {
        "features": features,
        "words": here(spans, length),
        "sounds": sounds_here(spans, length),
        **asdict(said),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sentences", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0, help="another one for each process that makes windows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.directory.mkdir(parents=True, exist_ok=True)
    maker = Maker(options.seed)
    for number in range(options.sentences // SHARD):
        file = options.directory / f"{options.seed}-{number:03}.pt"
        torch.save(maker.shard(), file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)


if __name__ == "__main__":
    main()
