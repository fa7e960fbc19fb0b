"""Recovery time of the bundle from SIGKILL and SIGSTOP of each program: `.venv/bin/python bench/recovery.py`.

Short phrases are played, one per second, while one program after the other gets a signal at random times. Measured are
the time to the first heartbeat of its successor with the state ready or busy, and to the first transcript of sound that
was captured after the fault, which every service has handled since. With a microphone, also how much sound was not
captured. The row "none" shows the latency of the phrases without a fault. Run it on an idle machine.
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

from rich.console import Console
from rich.table import Table
from timing import percentile

from rig import speech
from rig.microphone import VirtualMicrophone
from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import Entry, Gap, Heartbeat
from voicetap_bundle import Bundle

PHRASES = ("stop now", "turn left", "good morning", "thank you", "all right", "come here", "open it", "how nice")
PAUSE_S = 0.45
SHORT_ENDPOINT = {  # so that each phrase is an utterance
    "vad.endpoint_ms": 250,
    "vad.speech_pad_ms": 100,
    "vad.min_speech_ms": 96,
}
RECOVERY_S = 60.0
UNDISTURBED_S = (0.7, 2.0)  # between a recovery and the next fault, so that they are no crash loop
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
NO_PROGRAM = "none"


@dataclass
class Cell:
    """The measurements of one signal to one program; seconds."""

    ready_s: list[float] = field(default_factory=list)
    transcript_s: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)


Cells = dict[tuple[str, signal.Signals], Cell]


class Observer:
    """Receives the heartbeats of every program, and all entries."""

    def __init__(self, box: Bundle, stack: ExitStack):
        self._bus = stack.enter_context(Bus("app", box.settings))
        self._tap = stack.enter_context(box.tap(since=None))
        self._receivers = [self._bus.receiver(links.HEARTBEAT.of(name)) for name in box.programs]
        self.heartbeats: dict[str, Heartbeat] = {}

    def poll(self) -> Iterator[Entry]:
        """The entries of the next 3 ms; updates `heartbeats`."""
        self._bus.wait(0.003)
        for receiver in self._receivers:
            self.heartbeats |= {beat.name: beat for beat in receiver}
        while entry := self._tap.next(timeout_s=0):
            yield entry


def attack(box: Bundle, names: tuple[str, ...], repeats: int, dice: random.Random) -> Cells:
    """Sends each of SIGNALS `repeats` times to each of these programs, in turn."""
    cells: Cells = defaultdict(Cell)
    with ExitStack() as stack:
        observer = Observer(box, stack)
        for _ in range(repeats):
            for kind in SIGNALS:
                for name in names:
                    _wait_undisturbed(observer, box.programs, dice.uniform(*UNDISTURBED_S))
                    _measure(observer, name, kind, cells[name, kind])
    return cells


def _wait_undisturbed(observer: Observer, names: tuple[str, ...], seconds: float) -> None:
    """Waits until all programs have worked for so long."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        list(observer.poll())
        if any(not _is_working(observer.heartbeats.get(name)) for name in names):
            until_s = time.monotonic() + seconds


def _measure(observer: Observer, name: str, kind: signal.Signals, cell: Cell) -> None:
    victim = observer.heartbeats[name].pid if name != NO_PROGRAM else 0
    start_ns = time.monotonic_ns()
    if victim:
        os.kill(victim, kind)
    recovered_s, transcript_s, lost_s = 0.0 if not victim else None, None, 0.0
    while recovered_s is None or transcript_s is None:
        for entry in observer.poll():
            if isinstance(entry, Gap):
                lost_s += entry.end_s - entry.start_s
            elif entry.ended_ns > start_ns and transcript_s is None:
                transcript_s = _since(start_ns)
        if recovered_s is None and (beat := observer.heartbeats[name]).pid != victim and _is_working(beat):
            recovered_s = _since(start_ns)
        if _since(start_ns) > RECOVERY_S:
            raise TimeoutError(f"{name} did not recover from {kind.name} in {RECOVERY_S:g} s")
    cell.ready_s.append(recovered_s)
    cell.transcript_s.append(transcript_s)
    cell.lost_s.append(lost_s)


def _is_working(beat: Heartbeat | None) -> bool:
    return beat is not None and beat.state in ("ready", "busy")


def _since(start_ns: int) -> float:
    return (time.monotonic_ns() - start_ns) / 1e9


def phrases(directory: Path, seconds: float) -> Path:
    """A wav file of short phrases with pauses."""
    spoken = [speech.pcm_of(speech.synthesize(phrase, directory / "phrase.wav").path) for phrase in PHRASES]
    once = b"".join(pcm + speech.silence(PAUSE_S) for pcm in spoken)
    return speech.write_wav(directory / "phrases.wav", once * (1 + int(seconds * 2 * speech.RATE_HZ / len(once))))


def seconds_of(faults: int) -> float:
    """Enough sound for so many faults."""
    return 30 + 8.0 * faults


@contextmanager
def bundle(source: str, **engine: str) -> Iterator[Bundle]:
    os.environ["PYTHONPATH"] = sys.path[0]  # workers import the coded engine from there
    with Bundle(source, pace="realtime", settings=SHORT_ENDPOINT | {"vad.max_attempts": 20}, **engine) as box:
        yield box


def coded() -> dict[str, str]:
    """The options for an engine that takes 50 ms and needs no model."""
    return {"engine": "rig.coded:CodedEngine", "model": "0.05"}


def of_every_program(directory: Path, repeats: int, dice: random.Random) -> Cells:
    path = phrases(directory, seconds_of(repeats * 12))
    with bundle(f"file:{path}", **coded()) as box:
        return attack(box, (*box.programs, NO_PROGRAM), repeats, dice)


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
        table.add_row(name, *[_text(values) for c in found for values in (c.ready_s, c.transcript_s, c.lost_s)])
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
