"""The long form of tests/test_chaos.py: `bench/chaos --minutes 30 --seed S`. Exits 1 at a violation of the promise.

One siege after another, each a bundle of its own in a world of numbered frames. What is dealt out is the seed's
choice: every siege enables some kinds of faults only (what all together hide, few may show), its own pace, number of
workers, size of ring and time of decoding. The report is printed, and written to bench/results/chaos-SEED.json.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rig import failpoints, nemesis, siege, world
from rig.siege import Siege
from voicetap.messages import Failed, Final
from voicetap_bundle import Bundle

RESULTS = Path(__file__).parent / "results"
SIGNALS = ("KILL", "STOP", "TERM", "hang", "gil")
KINDS = ("kill", "stop", "pause", "terminate", "intrude")
PATIENCE_S = 4.0  # for moments that nobody has come to when all other faults are dealt out


@dataclass(frozen=True)
class Plan:
    """One siege; everything in it follows from its name."""

    name: str
    pace: str
    sentences: int
    workers: int
    decode_s: float
    ring_s: int
    faults: list[nemesis.Fault]
    pairs: bool  # two faults at once
    moments: list[str]
    signal: str

    @property
    def failpoint_plan(self) -> str:
        return failpoints.plan(self.moments, self.signal, self.name)


@dataclass
class Report:
    seed: str
    minutes: float = 0.0
    sieges: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # "kind service"
    sentences: int = 0
    frames: int = 0  # of speech, each of which has to be published once
    entries: int = 0
    failed: int = 0
    restarts: int = 0
    recovered_s: dict[str, list[float]] = field(default_factory=dict)  # by program
    violations: list[str] = field(default_factory=list)


def plan(name: str) -> Plan:
    dice = random.Random(name)
    kinds = dice.sample(KINDS, dice.randint(1, len(KINDS)))
    whole = dice.random() < 0.5
    pairs = [pair for pair in nemesis.EVERYTHING if pair[0] in kinds and (whole or pair not in nemesis.ON_THE_WHOLE)]
    moments = dice.sample(sorted(failpoints.MOMENTS), dice.choice((0, 3, 8)))
    return Plan(
        name=name,
        pace=dice.choice(("realtime", "max")),
        sentences=dice.randint(6, 14),
        workers=dice.randint(1, 3),
        decode_s=dice.choice((0.05, 0.2, 0.6)),
        ring_s=dice.choice((10, 600)),
        faults=nemesis.plan(name, dice.randint(5, 25), dice.choice((0.3, 0.8, 1.5)), pairs) if pairs else [],
        pairs=dice.random() < 0.3,
        moments=moments,
        signal=dice.choice(SIGNALS),
    )


def lay_siege(given: Plan, report: Report, directory: Path) -> list[str]:
    """The violations of one siege."""
    played = world.make(directory, given.sentences)
    runtime_dir = Path(tempfile.mkdtemp(prefix="vt-"))
    os.environ["VOICETAP_FAILPOINTS"] = given.failpoint_plan
    box = Bundle(
        f"file:{played.path}",
        engine="rig.coded:CodedEngine",
        model=str(given.decode_s),
        pace=given.pace,
        runtime_dir=str(runtime_dir),
        settings=siege.QUICK | {"transcribe.workers": given.workers, "capture.ring_s": given.ring_s},
    )
    try:
        done, violations = siege.under(box, runtime_dir, played, lambda siege: attack(siege, given, report))
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)
    count(report, played, done)
    return violations


def attack(siege: Siege, given: Plan, report: Report) -> None:
    for index, fault in enumerate(given.faults):
        if not (given.pairs and index % 2):
            siege.listen(fault.after_s)
        victims = nemesis.inject(fault, siege.runtime_dir)
        if fault.kind != "pause":
            siege.wound(victims)
        report.faults[f"{fault.kind} {fault.service}"] += bool(victims) or fault.kind == "intrude"
    pending = siege.reach(given.moments, PATIENCE_S)
    for moment in set(given.moments) - set(pending):
        report.faults[f"{given.signal} at a moment of {moment.partition('.')[0]}"] += 1


def count(report: Report, played: world.World, done: Siege) -> None:
    report.sieges += 1
    report.restarts += done.restarts
    report.sentences += len(played.sentences)
    report.frames += sum(last - first + 1 for first, last in played.sentences)
    report.entries += sum(isinstance(entry, Final) and bool(entry.text) for entry in done.entries)
    report.failed += sum(isinstance(entry, Failed) for entry in done.entries)
    for program, seconds in done.recovered_s:
        report.recovered_s.setdefault(program.partition("-")[0], []).append(round(seconds, 3))


def show(report: Report, console: Console) -> None:
    table = Table("fault", *nemesis.SERVICES, "supervisord", "box", title=f"chaos, seed {report.seed}")
    rows = sorted({name.rpartition(" ")[0] for name in report.faults})
    for row in rows:
        counts = [report.faults[f"{row} {column}"] for column in (*nemesis.SERVICES, "supervisord", "box")]
        table.add_row(row, *(str(number) if number else "" for number in counts))
    console.print(table)
    console.print(
        f"{report.minutes:.1f} minutes, {report.sieges} sieges, {sum(report.faults.values())} faults, "
        f"{report.restarts} restarts; {report.sentences} sentences, {report.frames} frames of speech, "
        f"{report.entries} finals, {report.failed} failed"
    )
    for service, seconds in sorted(report.recovered_s.items()):
        ordered = sorted(seconds)
        middle, slowest = ordered[len(ordered) // 2], ordered[-1]
        console.print(
            f"{service}: beats again after {middle:.2f} s (median of {len(ordered)}), {slowest:.2f} s (worst)"
        )
    console.print(f"violations: {len(report.violations)}", *report.violations, sep="\n  ")


def write(report: Report) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"chaos-{report.seed}.json"
    path.write_text(json.dumps(vars(report), indent=1) + "\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat one siege of the seed")
    given = parser.parse_args()
    report, console, start_s = Report(given.seed), Console(width=120), time.monotonic()
    numbers = itertools.count() if given.only is None else [given.only]
    for number in itertools.takewhile(lambda _: time.monotonic() - start_s < given.minutes * 60, numbers):
        one(f"{given.seed}-{number}", report, console)
    report.minutes = (time.monotonic() - start_s) / 60
    show(report, console)
    console.print(f"written to {write(report)}")
    return 1 if report.violations else 0


def one(name: str, report: Report, console: Console) -> None:
    with tempfile.TemporaryDirectory() as directory:
        planned = plan(name)
        start_s = time.monotonic()
        try:
            violations = lay_siege(planned, report, Path(directory))
        except Exception as error:  # noqa: BLE001  a bundle that does not start is a violation too
            violations = [f"{type(error).__name__}: {error}"]
    console.print(f"siege {name}: {time.monotonic() - start_s:.0f} s, {len(violations)} violations")
    seed, _, number = name.rpartition("-")
    for violation in violations:
        text = f"bench/chaos --seed {seed} --only {number}: {violation}"
        report.violations.append(text)
        console.print(text, planned, markup=False)


if __name__ == "__main__":
    sys.exit(main())
