"""How soon the bundle works again after SIGKILL and SIGSTOP of each program: `.venv/bin/python bench/recovery.py`.

While somebody speaks a short phrase every second, one program after the other is hurt, at random moments. Measured is
the time to the first heartbeat of its successor that says it can work, and to the first transcript of sound that was
captured after the fault, which every service has had in its hands since. On a microphone, also how much sound was not
captured. The row "nobody" shows what the phrases alone cost. The machine should have nothing else to do.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the rig that the tests stand on

from rich.console import Console
from rich.table import Table
from timing import percentile

from rig import speech
from rig.microphone import VirtualMicrophone
from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import Final, Gap, Heartbeat
from voicetap_bundle import Bundle

PHRASES = ("stop now", "turn left", "good morning", "thank you", "all right", "come here", "open it", "how nice")
PAUSE_S = 0.45
BRISK = {
    "vad.endpoint_ms": 250,
    "vad.speech_pad_ms": 100,
    "vad.min_speech_ms": 96,
}  # so that each phrase is an utterance
PATIENCE_S = 60.0
CALM_S = (0.7, 2.0)  # between the end of one recovery and the next fault, so that no crash loop is seen in them
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
NOBODY = "nobody"


@dataclass
class Cell:
    """All faults of one kind against one program; seconds."""

    beat_s: list[float] = field(default_factory=list)
    transcript_s: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)


Cells = dict[tuple[str, signal.Signals], Cell]


class Ears:
    """The last heartbeat of every program, and every entry, as they come."""

    def __init__(self, box: Bundle, stack: ExitStack):
        self._bus = stack.enter_context(Bus("app", box.settings))
        self._tap = stack.enter_context(box.tap(since=None))
        self._receivers = [self._bus.receiver(links.HEARTBEAT.of(name)) for name in box.programs]
        self.beats: dict[str, Heartbeat] = {}

    def listen(self) -> Iterator[Final | Gap]:
        """What came in the next few milliseconds."""
        self._bus.wait(0.003)
        for receiver in self._receivers:
            self.beats |= {beat.name: beat for beat in receiver}
        while heard := self._tap.next(timeout_s=0):
            yield heard


def attack(box: Bundle, names: tuple[str, ...], repeats: int, dice: random.Random) -> Cells:
    """Hurts each of these programs `repeats` times in each way, in turn."""
    cells: Cells = defaultdict(Cell)
    with ExitStack() as stack:
        ears = Ears(box, stack)
        for _ in range(repeats):
            for kind in SIGNALS:
                for name in names:
                    _calm(ears, box.programs, dice.uniform(*CALM_S))
                    _hurt(ears, name, kind, cells[name, kind])
    return cells


def _calm(ears: Ears, names: tuple[str, ...], seconds: float) -> None:
    """Until all have worked for so long."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        list(ears.listen())
        if any(not _works(ears.beats.get(name)) for name in names):
            until_s = time.monotonic() + seconds


def _hurt(ears: Ears, name: str, kind: signal.Signals, cell: Cell) -> None:
    victim = ears.beats[name].pid if name != NOBODY else 0
    start_ns = time.monotonic_ns()
    if victim:
        os.kill(victim, kind)
    works_s, transcript_s, lost_s = 0.0 if not victim else None, None, 0.0
    while works_s is None or transcript_s is None:
        for heard in ears.listen():
            if isinstance(heard, Gap):
                lost_s += heard.end_s - heard.start_s
            elif heard.ended_ns > start_ns and transcript_s is None:
                transcript_s = _since(start_ns)
        if works_s is None and (beat := ears.beats[name]).pid != victim and _works(beat):
            works_s = _since(start_ns)
        if _since(start_ns) > PATIENCE_S:
            raise TimeoutError(f"{name} did not recover from {kind.name} in {PATIENCE_S:g} s")
    cell.beat_s.append(works_s)
    cell.transcript_s.append(transcript_s)
    cell.lost_s.append(lost_s)


def _works(beat: Heartbeat | None) -> bool:
    return beat is not None and beat.state in ("ready", "busy")


def _since(start_ns: int) -> float:
    return (time.monotonic_ns() - start_ns) / 1e9


def phrases(directory: Path, seconds: float) -> Path:
    """A wav file of short phrases with pauses."""
    spoken = [speech.pcm_of(speech.synthesize(phrase, directory / "phrase.wav").path) for phrase in PHRASES]
    once = b"".join(pcm + speech.silence(PAUSE_S) for pcm in spoken)
    return speech.write_wav(directory / "phrases.wav", once * (1 + int(seconds * 2 * speech.RATE_HZ / len(once))))


def seconds_of(faults: int) -> float:
    """How long it may take."""
    return 30 + 8.0 * faults


@contextmanager
def bundle(source: str, **engine: str) -> Iterator[Bundle]:
    os.environ["PYTHONPATH"] = sys.path[0]  # for the workers: the coded engine is in the rig
    with Bundle(source, pace="realtime", settings=BRISK | {"vad.max_attempts": 20}, **engine) as box:
        yield box


def coded() -> dict[str, str]:
    """An engine that takes 50 ms, and needs no model."""
    return {"engine": "rig.coded:CodedEngine", "model": "0.05"}


def of_every_program(directory: Path, repeats: int, dice: random.Random) -> Cells:
    path = phrases(directory, seconds_of(repeats * 12))
    with bundle(f"file:{path}", **coded()) as box:
        return attack(box, (*box.programs, NOBODY), repeats, dice)


def of_a_microphone(directory: Path, repeats: int, dice: random.Random) -> Cells:
    path = phrases(directory, seconds_of(repeats * 2))
    with VirtualMicrophone() as microphone:
        os.environ |= microphone.environment
        with bundle("mic", **coded()) as box:
            player = microphone.play(path)
            try:
                cells = attack(box, ("capture-1",), repeats, dice)
            finally:
                player.kill()
                player.wait()
    return {("capture-1, microphone", kind): cell for (_, kind), cell in cells.items()}


def show(cells: Cells, repeats: int) -> None:
    table = Table(title=f"seconds, p50 / p95 of {repeats}")
    table.add_column("program")
    for kind in SIGNALS:
        for what in ("ready again", "transcript", "not captured"):
            table.add_column(f"{kind.name}\n{what}", justify="right")
    for name in dict.fromkeys(name for name, _ in cells):
        found = [cells[name, kind] for kind in SIGNALS]
        table.add_row(name, *[_text(values) for c in found for values in (c.beat_s, c.transcript_s, c.lost_s)])
    Console(width=130).print(table)


def _text(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.95):.2f}" if any(values) else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="faults of a kind per program (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: %(default)s)")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="vt-") as directory:
        cells = of_every_program(Path(directory), options.repeats, dice)
        cells |= of_a_microphone(Path(directory), options.repeats, dice)
    show(cells, options.repeats)


if __name__ == "__main__":
    main()
