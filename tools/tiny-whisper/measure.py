"""Lets faster-whisper transcribe sentences that were held out, and counts wrong words.

Alone, in noise and echo, several without a pause between them, and words in any order.

python measure.py DIRECTORY [--sentences N]
"""

import argparse
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel

import text
from speech import Espeak, anybody
from windows import joined, roughened

TOGETHER = 3  # sentences


def wrong_words(said: list[str], heard: list[str]) -> int:
    """Words to put in, take out or change."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        last, row[0] = row[0], number
        for column, other in enumerate(heard, 1):
            last, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, last + (word != other))
    return row[-1]


class Measure:
    def __init__(self, directory: Path):
        self._whisper = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=1)
        self.wrong, self.said, self.confused = Counter(), Counter(), defaultdict(list)

    def hears(self, sound: np.ndarray) -> str:
        settings = {"beam_size": 1, "without_timestamps": True, "condition_on_previous_text": False}
        segments, _ = self._whisper.transcribe(sound, temperature=0.0, **settings)
        return "".join(segment.text for segment in segments).strip()

    def count(self, kind: str, said: str, sound: np.ndarray) -> None:
        heard = self.hears(sound)
        wrong = wrong_words(said.split(), heard.split())
        self.wrong[kind] += wrong
        self.said[kind] += len(said.split())
        if wrong:
            self.confused[kind].append((said, heard))


def measured(directory: Path, sentences: list[str], seed: int) -> Measure:
    chance, dice, espeak = random.Random(seed), np.random.default_rng(seed), Espeak()
    measure, said = Measure(directory), []
    for sentence in sentences:
        said.append(anybody(sentence, espeak, chance))
        clean = joined(said[-1:], chance)[0].sound
        measure.count("clean", sentence, clean)
        measure.count("rough", sentence, roughened(clean, chance, dice))
        anything = anybody(text.in_any_order(chance), espeak, chance)
        measure.count("in any order", anything.text, joined([anything], chance)[0].sound)
    for place in range(0, len(said) - TOGETHER, TOGETHER):
        several = said[place : place + TOGETHER]
        sound = np.concatenate([each.sound for each in several])
        measure.count("without a pause", " ".join(each.text for each in several), sound)
    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sentences", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1_000)
    options = parser.parse_args()
    measure = measured(options.directory, text.held_out(options.sentences, options.seed), options.seed)
    for kind, wrong in measure.wrong.items():
        print(f"{kind}: {100 * wrong / measure.said[kind]:.1f} % of {measure.said[kind]} words wrong")
        for said, heard in measure.confused[kind][:12]:
            print(f"    {said!r} heard as {heard!r}")


if __name__ == "__main__":
    main()
