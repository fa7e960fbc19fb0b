"""Runs simulated boxes (tests/sim) by the million: `.venv/bin/python bench/simulate.py --runs N --seed S --jobs J`.

Every run has a seed of its own, from S on; `--seed S --trace` shows one as it goes. Exits 1 if one breaks the promise.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sim import witness, world

CHUNK = 50  # runs between two lines of progress


def main() -> None:
    options = parse_arguments()
    if options.trace:
        sys.exit(trace(options.seed))
    start_s, happened, violations = time.perf_counter(), Counter(), {}
    seeds = range(options.seed, options.seed + options.runs)
    chunks = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for done, (seen, wrong) in enumerate(pool.imap_unordered(run_all, chunks), 1):
            happened += seen
            violations |= wrong
            show_progress(min(done * CHUNK, options.runs), options.runs, wrong)
    report(options.runs, time.perf_counter() - start_s, happened, violations)
    sys.exit(bool(violations))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--trace", action="store_true", help="show what happens in the run with this seed")
    return parser.parse_args()


def trace(seed: int) -> bool:
    violations = world.run(seed, say).violations
    for violation in violations:
        say(f"VIOLATION: {violation}")
    return bool(violations)


def run_all(seeds: range) -> tuple[Counter, dict[int, list[str]]]:
    happened, violations = Counter(), {}
    for seed in seeds:
        seen = world.run(seed)
        happened += seen.happened
        if seen.violations:
            violations[seed] = seen.violations
    return happened, violations


def show_progress(done: int, runs: int, wrong: dict[int, list[str]]) -> None:
    for seed, violations in wrong.items():
        say(f"seed {seed}: {violations[0]}")
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {runs}" + "\n" * (done == runs))


def report(runs: int, seconds: float, happened: Counter, violations: dict[int, list[str]]) -> None:
    faults = sum(count for what, count in happened.items() if what.startswith("fault: "))
    say(f"{runs} runs in {seconds:.0f} s ({60 * runs / seconds:.0f} a minute)")
    say(f"{faults} faults, {happened['words published']} words, {len(violations)} runs with violations")
    for what, count in sorted(happened.items()):
        say(f"{count:10} {what}")
    for what in (*witness.SOMETIMES, *witness.RARELY):
        if not happened[what]:
            say(f"     never {what}")
    for seed in sorted(violations):
        say(f"again: bench/simulate.py --seed {seed} --trace")


if __name__ == "__main__":
    main()
