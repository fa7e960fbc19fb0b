"""voicetap and RealtimeSTT on the same speech, microphone and model: `.venv/bin/python bench/peers.py --model DIR`.

Installs the newest RealtimeSTT once into an environment of its own in the cache directory: 1.3 GB and two minutes with
a CPU build of torch, which `--require torch==2.13.0+cpu` selects where pip can find it; without it, pip downloads
gigabytes for GPUs. `--update` installs a newer RealtimeSTT. Prints a table in Markdown, and writes all measurements to
bench/results/peers.json. Run it on an idle machine.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import known
import playing
from cost import MIB, Meter
from rich.console import Console
from subjects import Peer, Subject, Voicetap
from timing import Timing, known_values, percentile, timings

from rig.microphone import VirtualMicrophone

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench/results"
CONSOLE = Console(soft_wrap=True, markup=False, highlight=False)
SETTLE_S = 5.0  # after ready: first heartbeats, first second of silence


@dataclass(frozen=True)
class Row:
    """One subject; seconds."""

    name: str
    timings: list[Timing]
    cpu_per_audio_s: float
    idle_cores: float
    pss_mib: float
    ready_s: float
    stop_s: float


def main() -> None:
    options = parse_arguments()
    load = os.getloadavg()[0]
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vt-") as directory, VirtualMicrophone() as microphone:
        os.environ |= microphone.environment
        spoken = known.build(Path(directory), options.utterances)
        rows = []
        for name, create in subjects(options):
            CONSOLE.print(f"{name} …")
            rows.append(measure(name, create, microphone, spoken, options.idle_s))
    (RESULTS / "peers.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    for line in markdown(rows):
        CONSOLE.print(line)
    given = [Path(word).name if word == options.model else word for word in sys.argv[1:]]
    CONSOLE.print(f"\n`bench/peers.py {shlex.join(given)}`, {date.today()}, load before: {load:.1f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a CTranslate2 directory, for all of them")
    parser.add_argument("--utterances", type=int, default=10, help="for each of them (default: %(default)s)")
    parser.add_argument("--idle-s", type=float, default=15, help="seconds of silence (default: %(default)s)")
    parser.add_argument("--require", action="append", default=[], metavar="REQUIREMENT", help="to install with it")
    parser.add_argument("--update", action="store_true", help="install a newer RealtimeSTT")
    parser.add_argument("--only", default="", help="those with this in their names")
    return parser.parse_args()


def subjects(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Subject]]]:
    """The selected subjects, by name, each created only when it is measured."""
    python, version = environment(options)
    model = str(Path(options.model).absolute())
    found = {}
    for setting in ("default", "tuned-early"):
        command = [python, str(Path(__file__).with_name("realtimestt.py")), setting, model]
        found[f"RealtimeSTT {version}, {setting}"] = partial(Peer, command, RESULTS / "peers.log")
    for name, settings in {"voicetap": {}, "voicetap, interims off": {"vad.interims": False}}.items():
        found[name] = partial(Voicetap, ["mic"], "faster-whisper", model, settings)
    yield from ((name, make) for name, make in found.items() if options.only in name)


def environment(options: argparse.Namespace) -> tuple[str, str]:
    """The Python of the environment with RealtimeSTT, which is installed if missing; and RealtimeSTT's version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "voicetap/peers")
    python = str(cache / "bin/python")
    if options.update or not version_in(python):
        CONSOLE.print(f"installing RealtimeSTT into {cache} …")
        subprocess.run([sys.executable, "-m", "venv", cache], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*pip, "RealtimeSTT[default]", *options.require], check=True)
    return python, version_in(python)


def version_in(python: str) -> str:
    """RealtimeSTT's version there; empty without one."""
    code = "from importlib.metadata import version; print(version('RealtimeSTT'))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def measure(name: str, create: Callable, microphone: VirtualMicrophone, file: known.Known, idle_s: float) -> Row:
    subject = create()
    start_s = time.monotonic()
    subject.start()
    try:
        ready_s = time.monotonic() - start_s
        time.sleep(SETTLE_S)
        with Meter(subject.find()) as idle:
            time.sleep(idle_s)
        with Meter(subject.find()) as busy:
            (spoken,) = playing.play(microphone, [file], lambda: subject.finals() >= len(file.spoken))
    finally:
        start_s = time.monotonic()
        subject.stop()
        stop_s = time.monotonic() - start_s
    return Row(
        name=name,
        timings=timings(subject.events, spoken),
        cpu_per_audio_s=busy.cpu_s / busy.seconds,
        idle_cores=idle.cpu_s / idle.seconds,
        pss_mib=max(idle.peak_pss_bytes, busy.peak_pss_bytes) / MIB,
        ready_s=ready_s,
        stop_s=stop_s,
    )


def markdown(rows: list[Row]) -> Iterator[str]:
    titles = ("", "end of speech → final, p50 (min–max)", "endpoint → final, p50", "first partial, p50")
    titles += ("CPU s per s of audio", "idle, % of a core", "peak PSS, MiB", "start → ready", "stop", "answered")
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    for row in rows:
        yield f"| {' | '.join(cells(row))} |"


def cells(row: Row) -> tuple[str, ...]:
    final_s = known_values(timing.final_s for timing in row.timings)
    span = f" ({min(final_s):.2f}–{max(final_s):.2f})" if final_s else ""
    return (
        row.name,
        f"{median(final_s)}{span}",
        median(known_values(timing.endpoint_to_final_s for timing in row.timings)),
        median(known_values(timing.first_interim_s for timing in row.timings)),
        f"{row.cpu_per_audio_s:.2f}",
        f"{100 * row.idle_cores:.1f}",
        f"{row.pss_mib:.0f}",
        f"{row.ready_s:.1f} s",
        f"{row.stop_s:.1f} s",
        f"{len(final_s)} of {len(row.timings)}",
    )


def median(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.2f}" if values else "-"


if __name__ == "__main__":
    main()
