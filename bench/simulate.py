"""Runs simulated bundles (tests/sim) by the million: `.venv/bin/python bench/simulate.py --runs N --seed S --jobs J`.

Every run has a seed of its own, from S (default: random) on; `--seed S --trace` prints what happens in one. Exits 1 if
one breaks the promise.
"""

import argparse
import contextlib
import multiprocessing
import os
import secrets
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from signal import SIG_IGN, SIGINT

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sim import witness, world

CHUNK = 20  # runs between two updates of the progress


def main() -> None:
    options = parse_arguments()
    if options.trace:
        sys.exit(trace(options.seed))
    start_s, happened, violations = time.perf_counter(), Counter(), {}
    with contextlib.suppress(KeyboardInterrupt):  # the runs so far are reported
        run(options, happened, violations)
    report(options.seed, time.perf_counter() - start_s, happened, violations)
    sys.exit(bool(violations))


def run(options: argparse.Namespace, happened: Counter, violations: dict[int, list[str]]) -> None:
    seeds = range(options.seed, options.seed + options.runs)
    chunks = (seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK))
    progress = Progress(options.runs)
    with multiprocessing.get_context("spawn").Pool(options.jobs, signal.signal, (SIGINT, SIG_IGN)) as pool:
        for counts, wrong in pool.imap_unordered(run_all, chunks):
            happened.update(counts)
            violations |= wrong
            progress.show(happened["runs"], wrong)


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="how many (default: %(default)s)")
    random_seed = secrets.randbelow(1 << 40)
    parser.add_argument("--seed", type=int, default=random_seed, help="of the first one (default: random)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--trace", action="store_true", help="print what happens in the run with this seed")
    return parser.parse_args()


def trace(seed: int) -> bool:
    violations = world.run(seed, write_line).violations
    for violation in violations:
        write_line(f"VIOLATION: {violation}")
    return bool(violations)


def run_all(seeds: range) -> tuple[Counter, dict[int, list[str]]]:
    happened, violations = Counter(), {}
    for seed in seeds:
        witnessed = world.run(seed)
        happened.update(witnessed.happened, runs=1)
        if witnessed.violations:
            violations[seed] = witnessed.violations
    return happened, violations


class Progress:
    """Prints violations at once, and the number of runs now and then: often on a terminal, seldom to a file."""

    def __init__(self, runs: int):
        self._runs = runs
        self._every_s, self._begin = (0.2, "\r") if sys.stderr.isatty() else (60.0, "\n")
        self._next_s = time.monotonic() + self._every_s

    def show(self, done: int, wrong: dict[int, list[str]]) -> None:
        for seed, violations in wrong.items():
            write_line(f"seed {seed}: {violations[0]}")
        sys.stdout.flush()
        if time.monotonic() >= self._next_s or done == self._runs:
            self._next_s = time.monotonic() + self._every_s
            sys.stderr.write(f"{self._begin}{done} of {self._runs}" + "\n" * (done == self._runs))
            sys.stderr.flush()


def report(first_seed: int, seconds: float, happened: Counter, violations: dict[int, list[str]]) -> None:
    runs = happened.pop("runs", 0)
    faults = sum(count for what, count in happened.items() if what.startswith("fault: "))
    write_line(f"{runs} runs from seed {first_seed} on in {seconds:.0f} s ({60 * runs / seconds:.0f} a minute)")
    write_line(f"{faults} faults, {happened['words published']} words, {len(violations)} runs with violations")
    for what, count in sorted(happened.items()):
        write_line(f"{count:10} {what}")
    for what in (*witness.SOMETIMES, *witness.RARELY):
        if not happened[what]:
            write_line(f"     never {what}")
    for seed in sorted(violations):
        write_line(f"again: bench/simulate.py --seed {seed} --trace")


if __name__ == "__main__":
    main()
