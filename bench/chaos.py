"""The long form of tests/test_chaos.py: `bench/chaos --minutes 30 --seed S`. Exits 1 if speech was lost or doubled.

Run after run, each with a bundle of its own and a rig.world of numbered frames. The seed determines everything: every
run injects some kinds of faults only (frequent faults of one kind may hide errors in the recovery from another), with
its own pace, number of workers, size of ring and decode time. Prints a report, and writes it to
bench/results/chaos-SEED.json.
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

from rig import failpoints, fault_run, faults, world
from rig.fault_run import FaultRun
from voicetap.messages import Failed, Final
from voicetap_bundle import Bundle

RESULTS = Path(__file__).parent / "results"
ACTIONS = ("KILL", "STOP", "INT", "hang", "gil")
KINDS = ("kill", "stop", "pause", "terminate", "intrude")
REACH_S = 4.0  # for failpoints that were not reached before the last of the other faults


@dataclass(frozen=True)
class Plan:
    """One run; its name determines all of it."""

    name: str
    pace: str
    sentences: int
    workers: int
    decode_s: float
    has_small_ring: bool
    faults: list[faults.Fault]
    pairs: bool  # two faults at once
    failpoints: list[str]
    action: str

    @property
    def ring(self) -> dict[str, object]:
        """The settings of the ring."""
        return fault_run.SMALL_RING if self.has_small_ring else {}

    @property
    def failpoint_plan(self) -> str:
        return failpoints.plan(self.failpoints, self.action, self.name)


@dataclass
class Report:
    seed: str
    minutes: float = 0.0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # "kind service"
    sentences: int = 0
    frames: int = 0  # of speech, each to be published exactly once
    entries: int = 0
    failed: int = 0
    restarts: int = 0
    recovered_s: dict[str, list[float]] = field(default_factory=dict)  # by program
    violations: list[str] = field(default_factory=list)


def plan(name: str) -> Plan:
    dice = random.Random(name)
    kinds = dice.sample(KINDS, dice.randint(1, len(KINDS)))
    whole = dice.random() < 0.5
    pairs = [pair for pair in faults.EVERY_FAULT if pair[0] in kinds and (whole or pair not in faults.ON_ALL)]
    names = dice.sample(sorted(failpoints.FAILPOINTS), dice.choice((0, 3, 8)))
    return Plan(
        name=name,
        pace=dice.choice(("realtime", "max")),
        sentences=dice.randint(6, 14),
        workers=dice.randint(1, 3),
        decode_s=dice.choice((0.05, 0.2, 0.6)),
        has_small_ring=dice.choice((True, False)),
        faults=faults.plan(name, dice.randint(5, 25), dice.choice((0.3, 0.8, 1.5)), pairs) if pairs else [],
        pairs=dice.random() < 0.3,
        failpoints=names,
        action=dice.choice(ACTIONS),
    )


def execute(planned: Plan, report: Report, directory: Path) -> list[str]:
    """The violations of one run."""
    played = world.build(directory, planned.sentences)
    runtime_dir = Path(tempfile.mkdtemp(prefix="vt-"))
    os.environ["VOICETAP_FAILPOINTS"] = planned.failpoint_plan
    box = Bundle(
        f"file:{played.path}",
        engine="rig.coded:CodedEngine",
        model=str(planned.decode_s),
        pace=planned.pace,
        runtime_dir=str(runtime_dir),
        settings=fault_run.SHORT_TIMEOUTS | {"transcribe.workers": planned.workers} | planned.ring,
    )
    try:
        done, violations = fault_run.run_under_faults(
            box, runtime_dir, played, lambda run: attack(run, planned, report)
        )
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)
    count(report, played, done)
    return violations


def attack(run: FaultRun, planned: Plan, report: Report) -> None:
    for index, fault in enumerate(planned.faults):
        if not (planned.pairs and index % 2):
            run.wait(fault.after_s)
        victims = faults.inject(fault, run.runtime_dir)
        if fault.kind != "pause":
            run.measure_recovery(victims)
        report.faults[f"{fault.kind} {fault.service}"] += bool(victims) or fault.kind == "intrude"
    pending = run.reach(planned.failpoints, REACH_S)
    for name in set(planned.failpoints) - set(pending):
        report.faults[f"{planned.action} at a failpoint of {name.partition('.')[0]}"] += 1


def count(report: Report, played: world.World, done: FaultRun) -> None:
    report.runs += 1
    report.restarts += done.restarts
    report.sentences += len(played.sentences)
    report.frames += sum(last - first + 1 for first, last in played.sentences)
    report.entries += sum(isinstance(entry, Final) and bool(entry.text) for entry in done.entries)
    report.failed += sum(isinstance(entry, Failed) for entry in done.entries)
    for program, seconds in done.recovered_s:
        report.recovered_s.setdefault(program.partition("-")[0], []).append(round(seconds, 3))


def show(report: Report, console: Console) -> None:
    table = Table("fault", *faults.SERVICES, "supervisord", faults.ALL, title=f"chaos, seed {report.seed}")
    rows = sorted({name.rpartition(" ")[0] for name in report.faults})
    for row in rows:
        counts = [report.faults[f"{row} {column}"] for column in (*faults.SERVICES, "supervisord", faults.ALL)]
        table.add_row(row, *(str(number) if number else "" for number in counts))
    console.print(table)
    console.print(
        f"{report.minutes:.1f} minutes, {report.runs} runs, {sum(report.faults.values())} faults, "
        f"{report.restarts} restarts; {report.sentences} sentences, {report.frames} frames of speech, "
        f"{report.entries} finals, {report.failed} failed"
    )
    for service, seconds in sorted(report.recovered_s.items()):
        ordered = sorted(seconds)
        middle, slowest = ordered[len(ordered) // 2], ordered[-1]
        console.print(
            f"{service}: works again after {middle:.2f} s (median of {len(ordered)}), {slowest:.2f} s (worst)"
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
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat one run of the seed")
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
            violations = execute(planned, report, Path(directory))
        except Exception as error:  # noqa: BLE001  a bundle that does not start is a violation too
            violations = [f"{type(error).__name__}: {error}"]
    console.print(f"run {name}: {time.monotonic() - start_s:.0f} s, {len(violations)} violations")
    seed, _, number = name.rpartition("-")
    for violation in violations:
        text = f"bench/chaos --seed {seed} --only {number}: {violation}"
        report.violations.append(text)
        console.print(text, planned, markup=False)


if __name__ == "__main__":
    sys.exit(main())
