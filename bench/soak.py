"""Leak test: hours of speech through the bundle, faster than real time: `.venv/bin/python bench/soak.py --hours 1`.

Samples memory, descriptors and threads of every program, writes them to bench/results/soak.csv and, where matplotlib is
installed (requirements-bench.lock), plots them to soak.png and soak.svg beside it. Every frame is numbered, as in
rig.world, so that lost or doubled frames are found too. Exits 1 when something grows, or a frame is lost or doubled.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
import wave
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from rig import speech, verification, world
from rig.collector import TapCollector
from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap_bundle import Bundle
from voicetap_bundle.audit import audit

RESULTS = Path(__file__).parent / "results"
SAMPLE_S = 1.0
WARM_UP = 0.25  # of the run: by then the ring has wrapped and every cache is full
MAX_SLOPE_MIB = 2.0  # per hour of speech, after the warm-up
MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    program: str
    speech_s: float
    rss_mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Verdict:
    """The growth of one program after the warm-up."""

    program: str
    first_mib: float
    last_mib: float
    slope_mib: float  # per hour of speech
    more_descriptors: int  # from begin to end
    more_threads: int

    @property
    def is_flat(self) -> bool:
        return self.slope_mib <= MAX_SLOPE_MIB and self.more_descriptors <= 0 and self.more_threads <= 0


def main() -> None:
    options = parse_arguments()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "tests")  # workers import the coded engine from there
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vt-") as directory:
        played = long_world(Path(directory), options.hours)
        samples, found, elapsed_s = soak(played)
    verdicts = [judge_samples(name, of) for name, of in by_program(samples).items()]
    write(samples)
    plot(samples, options.hours)
    report(verdicts, found, played.seconds, elapsed_s)
    sys.exit(bool(found) or not all(verdict.is_flat for verdict in verdicts))


def long_world(directory: Path, hours: float) -> world.World:
    """A rig.world of any length: its sentences repeated, with unique frame numbers."""
    base = world.build(directory, len(speech.SENTENCES))
    frames = np.frombuffer(speech.pcm_of(base.path), "<i2").reshape(-1, FRAME_SAMPLES)
    rounds = max(1, round(hours * 3600 / base.seconds))
    with wave.open(str(directory / "long.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        for turn in range(rounds):
            file.writeframes(numbered(frames, turn * len(frames) + 1).tobytes())
    sentences = [(turn * len(frames) + a, turn * len(frames) + b) for turn in range(rounds) for a, b in base.sentences]
    return world.World(directory / "long.wav", rounds * len(frames), tuple(sentences))


def numbered(frames: np.ndarray, first: int) -> np.ndarray:
    """The frames with numbers from `first` on in their least significant bits."""
    numbers = np.arange(first, first + len(frames))[:, None]
    bits = (numbers >> np.arange(world.NUMBER_BITS)) & 1
    renumbered = frames.copy()
    renumbered[:, : world.NUMBER_BITS] = (renumbered[:, : world.NUMBER_BITS] & ~1) | bits.astype("<i2")
    return renumbered


def soak(played: world.World) -> tuple[list[Sample], list[str], float]:
    """Samples, violations, and the seconds it took."""
    samples, start_s = [], time.monotonic()
    source, engine = f"file:{played.path}", "rig.coded:CodedEngine"
    with Bundle(source, engine=engine, model="0", pace="max") as box, box.tap(since=1) as tap:
        collector = TapCollector(tap)
        while not box.is_drained():
            collector.collect_for(SAMPLE_S)
            samples += sample(box)
        collector.poll(timeout_s=1.0)
        found = verification.violations(played, collector.messages) + audit(box.settings)["violations"]
    return samples, found, time.monotonic() - start_s


def sample(box: Bundle) -> Iterator[Sample]:
    speech_s = box.position_s()
    for service in box.status()["services"]:
        try:
            process = psutil.Process(service["pid"])
            rss_mib, descriptors = process.memory_info().rss / MIB, process.num_fds()
            yield Sample(service["name"], speech_s, rss_mib, descriptors, process.num_threads())
        except psutil.NoSuchProcess:
            continue  # a restarted program; the audit checks its work


def by_program(samples: list[Sample]) -> dict[str, list[Sample]]:
    found = defaultdict(list)
    for each in samples:
        found[each.program].append(each)
    return found


def judge_samples(program: str, samples: list[Sample]) -> Verdict:
    warm = samples[int(len(samples) * WARM_UP) :]
    hours = [each.speech_s / 3600 for each in warm]
    slope_mib = float(np.polyfit(hours, [each.rss_mib for each in warm], 1)[0])
    tenth = max(1, len(warm) // 10)
    more = [  # minima, because a descriptor that is open briefly is no leak
        min(getattr(each, name) for each in warm[-tenth:]) - min(getattr(each, name) for each in warm[:tenth])
        for name in ("descriptors", "threads")
    ]
    return Verdict(program, warm[0].rss_mib, warm[-1].rss_mib, slope_mib, *more)


def write(samples: list[Sample]) -> None:
    with open(RESULTS / "soak.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(spec.name for spec in fields(Sample))
        rows.writerows(astuple(each) for each in samples)


def plot(samples: list[Sample], hours: float) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return  # soak.csv has the numbers
    figure = Figure(figsize=(9, 8), layout="constrained")
    shown = {"rss_mib": "memory (RSS), MiB", "descriptors": "descriptors", "threads": "threads"}
    for axes, (name, label) in zip(figure.subplots(3, sharex=True), shown.items(), strict=True):
        for program, of in by_program(samples).items():
            axes.plot([each.speech_s / 60 for each in of], [getattr(each, name) for each in of], label=program)
        axes.set(ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_title(f"{hours:g} h of speech")
    figure.axes[0].legend(ncols=5, loc="upper center", fontsize="small")
    figure.axes[-1].set_xlabel("minutes of speech")
    for kind in ("png", "svg"):
        figure.savefig(RESULTS / f"soak.{kind}")


def report(verdicts: list[Verdict], found: list[str], speech_s: float, elapsed_s: float) -> None:
    console = Console()
    table = Table("program", "MiB, warm", "MiB, end", "MiB per hour", "descriptors", "threads", "", box=None)
    for each in verdicts:
        numbers = (f"{each.first_mib:.1f}", f"{each.last_mib:.1f}", f"{each.slope_mib:+.2f}")
        counts = (f"{each.more_descriptors:+d}", f"{each.more_threads:+d}")
        table.add_row(each.program, *numbers, *counts, "flat" if each.is_flat else "[red]grows")
    console.print(table)
    console.print(
        f"{speech_s / 3600:.2f} h of speech in {elapsed_s / 60:.1f} min: {speech_s / elapsed_s:.0f} times real time"
    )
    for text in found[:20]:
        console.print(f"[red]{text}", soft_wrap=True)
    console.print(f"{len(found)} violations")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0, help="of speech; default 1")
    return parser.parse_args()


if __name__ == "__main__":
    main()
