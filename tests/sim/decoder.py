"""The decoder and engine of a simulated worker: perfect, slow, or failing at certain words in several ways."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, Job, Word
from voicetap_transcribe.decoder import DecodeDone, DecodeFailed, DecodePreempted, DecoderEvent, EngineLoaded
from voicetap_transcribe.engines.base import Result

from . import sound

if TYPE_CHECKING:
    from .process import Process

NEVER_S = 1e9
BABBLE = "".join(chr(0x4E00 + at * 7919 % 20_000) for at in range(10_000))  # one word, in which nothing repeats
WORD_FAULTS = ("crash", "hang", "undecodable", "babble")


@dataclass
class EngineConditions:
    """How well all engines work. `faulty_words` maps the number of a word to the fault that decoding it causes."""

    load_s: float = 0.3
    factor: float = 0.1  # seconds per second of sound
    slow: float = 0.0  # probability that a decode takes `slow_s` longer
    slow_s: float = 2.0
    faulty_words: dict[int, str] = field(default_factory=dict)


class Decoder:
    """Replaces voicetap_transcribe.decoder.Decoder, without its thread."""

    fd = 0

    def __init__(self, process: "Process", engine: EngineConditions):
        self._process = process
        self._engine = engine
        self._dice = process.world.dice
        self._job: Job | None = None
        self._preempted: Job | None = None
        self._loaded_s: float | None = self._now() + engine.load_s * (0.5 + self._dice.random())
        self._done_s = NEVER_S
        process.world.timeline.at(self._loaded_s, self._notify)

    def decode(self, job: Job) -> None:
        engine = self._engine
        seconds = 0.01 + engine.factor * len(job.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ
        seconds += engine.slow_s if self._dice.random() < engine.slow else 0.0
        self._job, self._fault = job, self._fault_of(job)
        self._done_s = NEVER_S if self._fault == "hang" else self._now() + seconds
        self._process.world.timeline.at(min(self._done_s, self._now() + seconds), self._finish)

    def preempt(self) -> None:
        """The engine may react, or not before it is done."""
        if self._job and self._fault != "hang" and self._dice.random() < 0.5:
            self._preempted, self._job, self._done_s = self._job, None, NEVER_S
            self._process.world.timeline.at(self._now() + 0.01 * self._dice.random(), self._notify)

    def events(self) -> Iterator[DecoderEvent]:
        if self._loaded_s is not None and self._now() >= self._loaded_s:
            self._loaded_s = None
            yield EngineLoaded("sim", "sim", "")
        if self._preempted:
            job, self._preempted = self._preempted, None
            yield DecodePreempted(job)
        if self._job and self._now() >= self._done_s:
            job, self._job, self._done_s = self._job, None, NEVER_S
            yield self._result(job)

    def _result(self, job: Job) -> DecoderEvent:
        if self._fault == "undecodable":
            return DecodeFailed(job, "a faulty word")
        if self._fault == "babble":
            word = Word(word="x", start_s=0.0, end_s=0.0, probability=1.0)
            return DecodeDone(job, Result(text=BABBLE, words=(word,) * 5000), 0.1)
        return DecodeDone(job, Result(text=sound.text_of(job.pcm)), 0.1)

    def _fault_of(self, job: Job) -> str:
        faulty = self._engine.faulty_words
        return next((faulty[number] for number in sound.words_in(job.pcm) if number in faulty), "") if faulty else ""

    def _finish(self) -> None:
        if self._fault == "crash":
            self._process.kill()
        self._notify()

    def _notify(self) -> None:
        self._process.wake(self._now())

    def _now(self) -> float:
        return self._process.world.timeline.now_s
