"""Measures the bundle and prints it beside its budgets: `.venv/bin/python bench/budgets.py [--engine E] [--model M]`.

Run it on an idle machine. Decode times of a stand-in model are not those of the real one; `--model` takes a CTranslate2
directory or a size. Exits 1 when a budget is missed.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import measurements as measure
import recovery
from cost import MIB
from rich.console import Console
from rich.table import Table
from timing import percentile

from rig.microphone import VirtualMicrophone


@dataclass(frozen=True)
class Budget:
    """One row: the limit, and RealtimeSTT's value on the same two cores (its strongest / default setting)."""

    what: str
    realtimestt: str
    limit: float
    unit: str


# fmt: off
BUDGETS = {
    "frame_p50":      Budget("frame read → frame received, p50",         "-",           0.3, "ms"),
    "frame_p99":      Budget("frame read → frame received, p99",         "-",           2.0, "ms"),
    "silero_p50":     Budget("VAD model, one 32 ms frame, p50",          "-",           150, "µs"),
    "silero_p99":     Budget("VAD model, one 32 ms frame, p99",          "-",           400, "µs"),
    "start":          Budget("start → ready, model cached",              "2.9",         2.0, "s"),
    "stop":           Budget("SIGTERM → all gone",                       "-",           5.0, "s"),
    "idle":           Budget("idle, all services",                       "3",           2.0, "% of a core"),
    "pss":            Budget("memory of everything (PSS)",               "707 / 552",   350, "MiB"),
    "cpu":            Budget("CPU per second of audio, with interims",   "1.17 / 0.14", 0.5, "s"),
    "endpoint_p50":   Budget("endpoint declared → final, p50",           "0.11 / 0.63", 0.03, "s"),
    "endpoint_p95":   Budget("endpoint declared → final, p95",           "-",          0.15, "s"),
    "end_p50":        Budget("end of speech → final, p50",               "0.98 / 1.79", 0.65, "s"),
    "end_p95":        Budget("end of speech → final, p95",               "-",           0.9, "s"),
    "kill":           Budget("SIGKILL → ready again, slowest but transcribe", "3.6",    0.5, "s"),
    "freeze":         Budget("SIGSTOP → ready again, slowest but transcribe", "never",  2.5, "s"),
}
# fmt: on


def main() -> None:
    options = parse_arguments()
    engine = measure.Engine(options.engine, options.model)
    with tempfile.TemporaryDirectory(prefix="vt-") as directory, VirtualMicrophone() as microphone:
        os.environ |= microphone.environment
        measured = dict(all_measurements(engine, Path(directory), options))
    show(measured, engine)
    sys.exit(any(value > BUDGETS[key].limit for key, (value, _) in measured.items()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="auto", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--model", default="tiny.en", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--utterances", type=int, default=20, help="sentences to speak (default: %(default)s)")
    parser.add_argument("--idle-s", type=float, default=30, help="seconds of silence (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=5, help="faults of a kind per program (default: %(default)s)")
    return parser.parse_args()


def all_measurements(engine, directory, options):
    """Yields (key, (value in the budget's unit, remark)); runs the measurements one at a time."""
    yield from costs()
    yield from lifetimes(engine)
    yield from silence(engine, options.idle_s)
    yield from speech(engine, directory, options.utterances)
    yield from faults(engine, directory, options.faults)


def costs():
    silero_us = measure.silero_cost_us()
    yield "silero_p50", (percentile(silero_us, 0.5), "")
    yield "silero_p99", (percentile(silero_us, 0.99), "")


def lifetimes(engine):
    measure.start_and_stop(engine)  # fills the page cache
    runs = [measure.start_and_stop(engine) for _ in range(5)]
    yield "start", (percentile([start for start, _ in runs], 0.5), "median of 5")
    yield "stop", (max(stop for _, stop in runs), "slowest of 5")


def silence(engine, seconds):
    idle = measure.idle(engine, seconds)
    yield "idle", (100 * idle.cpu, by_program(idle.cpu_of, lambda cpu: f"{100 * cpu:.1f}"))
    yield "pss", (idle.pss_bytes / MIB, by_program(idle.pss_of, lambda size: f"{size / MIB:.0f}"))


def speech(engine, directory, utterances):
    spoken = measure.speaking(engine, directory, utterances)
    frames_ms = [age_s * 1000 for age_s in spoken.frame_to_reader_s]
    yield "frame_p50", (percentile(frames_ms, 0.5), f"{len(frames_ms)} frames")
    yield "frame_p99", (percentile(frames_ms, 0.99), "")
    yield "cpu", (spoken.cpu_per_audio_s, "")
    for key, values in (("endpoint", spoken.endpoint_to_final_s), ("end", spoken.end_to_final_s)):
        yield f"{key}_p50", (percentile(values, 0.5), f"{len(values)} utterances")
        yield f"{key}_p95", (percentile(values, 0.95), "")


def faults(engine, directory, repeats):
    path = recovery.phrases(directory, recovery.seconds_of(repeats * 10))
    with recovery.bundle(f"file:{path}", engine=engine.engine, model=engine.model) as box:
        cells = recovery.attack(box, box.programs, repeats, random.Random(1))
    for key, kind in (("kill", signal.SIGKILL), ("freeze", signal.SIGSTOP)):
        worst_s = {name: max(cells[name, kind].ready_s) for name in box.programs}
        slowest_s = max(value for name, value in worst_s.items() if not name.startswith("transcribe"))
        yield key, (slowest_s, by_program(worst_s, lambda value: f"{value:.2f}"))


def by_program(values: dict, text) -> str:
    return " ".join(f"{name} {text(value)}" for name, value in sorted(values.items()))


def show(found: dict[str, tuple[float, str]], engine) -> None:
    table = Table(title=f"engine {engine.engine}, model {Path(engine.model).name}")
    for title, justify in (("what", "left"), ("measured", "right"), ("budget", "right"), ("", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "")
    table.add_column("RealtimeSTT", justify="right")
    table.add_column("remark", overflow="fold")
    for key, budget in BUDGETS.items():
        value, remark = found[key]
        verdict = "ok" if value <= budget.limit else "[bold]missed[/]"
        measured = f"{value:.3g} {budget.unit}"
        table.add_row(budget.what, measured, f"≤ {budget.limit:g}", verdict, budget.realtimestt, remark)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
