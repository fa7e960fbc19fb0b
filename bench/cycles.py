"""Starts and stops every service and the bundle repeatedly, and checks for leaks:
`.venv/bin/python bench/cycles.py [--cycles 100] [--bundle-cycles 20]`.

Services run with warnings as errors. Exits 1 when anything is left behind, a warning is printed, or a stop is too slow.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rig.processes import environment, eventually, processes_of
from voicetap import config, links
from voicetap.bus import Bus
from voicetap.service.launch import NO_TELEMETRY
from voicetap.vocabulary import ServiceState
from voicetap_bundle import Bundle
from voicetap_watchdog.layout import STATE_PATTERNS

START_S, STOP_S = 30.0, 5.0
SPEECH = Path(__file__).parents[1] / "tests/data/speech.wav"
SERVICES = {  # module and arguments; each sends heartbeats without the others
    "capture-1": ("voicetap_capture", "1"),
    "vad": ("voicetap_vad",),
    "transcribe-1": ("voicetap_transcribe", "1"),
    "journal": ("voicetap_journal",),
    "watchdog": ("voicetap_watchdog", "watchdog"),
}
# A service started alone leaves these: the state for its next start, and files that supervise would remove.
KEPT = (*STATE_PATTERNS, "watchdog.pulse")
_COMPLAINT = re.compile(r"Traceback|Warning|Exception ignored|ERROR|leaked")


@dataclass
class Tally:
    """The results of all cycles of one service or of the bundle."""

    starts_s: list[float] = field(default_factory=list)
    stops_s: list[float] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def add_cycle(self, start_s: float, ready_s: float, stopped_s: float) -> None:
        self.starts_s.append(ready_s - start_s)
        self.stops_s.append(stopped_s - ready_s)
        if stopped_s - ready_s > STOP_S:
            self.leftovers.append(f"took {stopped_s - ready_s:.1f} s to stop")

    def add_output(self, output: str) -> None:
        self.leftovers += [line for line in output.splitlines() if _COMPLAINT.search(line)]


@dataclass(frozen=True)
class Place:
    """Private directories: the runtime directory, and one for temporary files and caches."""

    runtime_dir: Path
    temporary: Path

    def environment(self) -> dict[str, str]:
        """Includes the variables that launch sets: services run without it here, because it delays frequent starts."""
        settings = {"sources": f"file:{SPEECH}", "transcribe_engine": "pocketsphinx", "supervisor_socket": "/nowhere"}
        directories = {"HOME": str(self.temporary), "TMPDIR": str(self.temporary)}
        return environment(self.runtime_dir, **settings) | NO_TELEMETRY | directories | {"PYTHONWARNINGS": "error"}

    def leftovers(self, kept: tuple[str, ...] = ()) -> Iterator[str]:
        """Processes, and files that are not `kept`."""
        yield from (f"process {process.pid} {process.name()}" for process in processes_of(self.runtime_dir))
        found = [*self.runtime_dir.iterdir()] if self.runtime_dir.exists() else []
        yield from (path.name for path in found if not any(path.match(pattern) for pattern in kept))
        yield from (path.name for path in self.temporary.iterdir())


@contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="vt-") as one, tempfile.TemporaryDirectory(prefix="vt-") as two:
        yield Place(Path(one, "r"), Path(two))


def traces() -> set[str]:
    """Resources of this process and the machine's shared memory that a cycle could leak."""
    process = psutil.Process()
    descriptors = {f"descriptor {path.name}" for path in Path("/proc/self/fd").iterdir() if path.exists()}
    threads = {f"thread {thread.id}" for thread in process.threads()}
    children = {f"child {child.pid}" for child in process.children(recursive=True)}
    return descriptors | threads | children | {f"/dev/shm/{name}" for name in os.listdir("/dev/shm")}


def cycle_service(program: str, where: Place, tally: Tally) -> None:
    """Waits for the first heartbeat that is not `starting`, then sends SIGTERM and expects exit code 0."""
    variables = where.environment()
    pipe = subprocess.PIPE  # as stdin too: the watchdog reads events from it until its end
    with Bus("app", config.load(variables)) as bus:
        heartbeats = bus.receiver(links.HEARTBEAT.of(program))
        command = [sys.executable, "-m", *SERVICES[program]]
        start_s = time.monotonic()
        with subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            eventually(
                lambda: any(beat.state != ServiceState.STARTING for beat in heartbeats),
                START_S,
                f"a heartbeat of {program}",
            )
            ready_s = time.monotonic()
            process.terminate()
            exit_code = process.wait(2 * STOP_S)
            tally.add_cycle(start_s, ready_s, time.monotonic())
            tally.add_output(process.stdout.read().decode())
    tally.leftovers += where.leftovers(KEPT)
    tally.leftovers += [f"exit code {exit_code}"] if exit_code else []


def cycle_bundle(where: Place, tally: Tally) -> None:
    """Starts the bundle and stops it during speech."""
    os.environ.update(where.environment())
    with ExitStack() as stack:
        start_s = time.monotonic()
        box = Bundle(runtime_dir=str(where.runtime_dir)).start(START_S)
        ready_s = time.monotonic()
        logs = [stack.enter_context(path.open()) for path in (where.runtime_dir / "log").iterdir()]
        box.stop()
        tally.add_cycle(start_s, ready_s, time.monotonic())
        for log in logs:  # removed by the stop, but still open here
            tally.add_output(log.read())
    tally.leftovers += where.leftovers()


def run(what: str, cycles: int, cycle: Callable[[Place, Tally], None]) -> Tally:
    tally = Tally()
    console = Console(stderr=True)
    with place() as where:
        for _ in track(range(cycles), what, console=console, transient=True, disable=not console.is_terminal):
            before = traces()
            cycle(where, tally)
            tally.leftovers += sorted(traces() - before)
    return tally


def show(tallies: dict[str, Tally]) -> Table:
    table = Table(title="started and stopped")
    for title in ("", "cycles", "slowest start", "slowest stop"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    table.add_column("leftovers", overflow="fold")
    for what, tally in tallies.items():
        slowest = [f"{max(times_s):.2f} s" for times_s in (tally.starts_s, tally.stops_s)]
        table.add_row(what, str(len(tally.stops_s)), *slowest, "\n".join(tally.leftovers) or "none")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=100, help="of each service (default: %(default)s)")
    parser.add_argument("--bundle-cycles", type=int, default=20, help="of the whole bundle (default: %(default)s)")
    options = parser.parse_args()
    cycles = {program: (options.cycles, partial(cycle_service, program)) for program in SERVICES}
    cycles["bundle"] = (options.bundle_cycles, cycle_bundle)
    tallies = {what: run(what, count, cycle) for what, (count, cycle) in cycles.items() if count}
    Console().print(show(tallies))
    sys.exit(any(tally.leftovers for tally in tallies.values()))


if __name__ == "__main__":
    main()
