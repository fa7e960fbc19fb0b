"""An engine that decodes the frame numbers of rig.world: its text is `FIRST-LAST` for every run of frames.

Selected with `engine = "rig.coded:CodedEngine"`; `model = "0.3"` makes a decode take 0.3 s.
"""

import logging
import os
import time
from itertools import pairwise

from voicetap.settings import Settings
from voicetap_transcribe.engines.base import Options, Progress, Result

from . import world


class CodedEngine:
    """Returns the number of every frame."""

    name = "coded"

    def load(self, settings: Settings, progress: Progress) -> None:
        self.model = settings.transcribe.model
        self._decode_s = float(self.model)

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        time.sleep(self._decode_s)
        numbers = [number for number in world.numbers_in(pcm) if number]
        return Result(text=" ".join(f"{first}-{last}" for first, last in runs(numbers)))

    def close(self) -> None:
        """Nothing to release."""


class DeviceEngine(CodedEngine):
    """The same for audio recorded from a sound card, which is not aligned to frames."""

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        return super().transcribe(world.aligned(pcm), options)


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Consecutive numbers as [first, last]: a missing or doubled frame starts a new run."""
    if not numbers:
        return []
    breaks = [index for index, (one, two) in enumerate(pairwise(numbers), 1) if two != one + 1]
    edges = [0, *breaks, len(numbers)]
    return [(numbers[first], numbers[last - 1]) for first, last in pairwise(edges)]


def parse(text: str) -> list[tuple[int, int]]:
    """The runs in a text of this engine."""
    return [tuple(map(int, run.split("-"))) for run in text.split()]


class CrashingEngine(CodedEngine):
    """Ends its process while it is loaded, as a broken installation does."""

    def load(self, settings: Settings, progress: Progress) -> None:
        logging.getLogger("engine").error("libsomething.so cannot be loaded")
        os._exit(3)
