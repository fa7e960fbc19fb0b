"""One simulated bundle, from start to end."""

import os
import random
import sqlite3
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from voicetap.codec import decode
from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, ConfigError, Unavailable
from voicetap.messages import SAMPLE_RATE_HZ, Entry, SourceState
from voicetap.service import shutdown
from voicetap.vocabulary import SourceStatus
from voicetap_transcribe.worker import DecodeTimeout

from . import checks, nemesis, shells, stand_ins
from .device import Room
from .disk import Disk
from .disturbances import Disturbances
from .host import APP, WATCHDOG, Host
from .lost_files import Loss
from .network import Network
from .process import Killed, Process
from .scenario import Scenario, draw
from .sound import Sound, compose
from .timeline import START_S, Clock, EndlessError, Timeline
from .witness import Witness

POLL_S = 0.1
DRAIN_S = 60.0  # after the world is healed
STOP_TIMEOUTS_S = {
    "capture": 1.0,
    "vad": 3.0,
    "transcribe": 1.0,
    "journal": 1.0,
}  # in this order
LAST_KILLS_S = 1.0  # after the start of a stop, in which processes may be killed once more
STOP_SPEECH_S = 40.0  # more sound, for a bundle that is stopped while there is speech
MAX_LAG_S = 0.5  # of vad behind capture in a healthy bundle
SILENCE_S = 0.5  # from the start to the first sound


@dataclass
class SimulatedSource:
    """`room` is the place of the microphone; a file has none."""

    name: str
    sound: Sound
    program: str  # its capture
    room: Room | None = None
    stream: str = ""  # of its ring


@dataclass
class App:
    """What an app stores: every entry, and its position in which journal."""

    kept: list[Entry] = field(default_factory=list)
    journal_id: str = ""
    next_seq: int = 1


def run(seed: int, trace: Callable[[str], None] | None = None) -> Witness:
    """Runs one world. Returns its witness."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="vt-sim-", dir=memory) as directory:
        return World(draw(seed), directory, trace).run()


class World:
    def __init__(self, scenario: Scenario, directory: str, trace: Callable[[str], None] | None = None):
        self.scenario = scenario
        self.directory = directory
        self.settings = replace(scenario.settings, runtime_dir=directory)
        self.dice = random.Random(-scenario.seed - 1)
        self.timeline = Timeline()
        self.clock = Clock(self.timeline)
        self.network = Network(self.timeline, self.dice)
        self.network.conditions = scenario.conditions
        self.disk = Disk(self.step, lambda callback: self.running.exit_callbacks.append(callback))
        self.witness = Witness()
        self.disturbances = Disturbances()
        self.host = Host(self)
        self.engine = replace(scenario.engine, faulty_words={})
        self.running: Process | None = None
        self.apps = [App() for _ in range(scenario.readers)]
        self.loss: Loss | None = None  # of a file
        self.sources = [self._source(number, kind) for number, kind in enumerate(scenario.sources, 1)]
        self._write_trace = trace
        self.tracing = trace is not None

    def run(self) -> Witness:
        with stand_ins.installed(self):
            try:
                self._start()
                nemesis.schedule_faults(self)
                self.run_until(START_S + self.scenario.seconds + 1)
                nemesis.heal(self)
                self._end()
                if not self.witness.violations:
                    self.witness.violations += checks.violations(self)
            except (ViolationError, EndlessError) as violation:
                self.witness.add_violation(str(violation))
            except Exception:  # noqa: BLE001  a fault of the simulation itself, reported with its seed
                self.witness.add_violation(traceback.format_exc())
            finally:
                self._close()
        return self.witness

    # ---- for processes --------------------------------------------------------------------------

    def run_until(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Runs all other processes, while the one that calls waits."""
        waiting, self.running = self.running, None
        try:
            self.timeline.run(until_s, is_over)
        finally:
            self.running = waiting

    def run_turn(self, process: Process, turn: Callable[[], float]) -> float:
        """One turn of a process. An exception makes it exit as the real process would."""
        before, self.running = self.running, process
        try:
            return turn()
        except Killed:
            return 0.0
        except (DecodeTimeout, SystemExit):
            process.exit(1)
        except Unavailable:
            process.exit(EX_TEMPFAIL)
        except ConfigError:
            process.exit(EX_CONFIG)
        except Exception as error:  # noqa: BLE001  any other exception is a violation
            if not (isinstance(error, sqlite3.OperationalError) and self.disk.full):
                raise ViolationError(f"{process.name} crashed: {traceback.format_exc()}") from None
            process.exit(1)
        finally:
            self.running = before
        return 0.0

    def step(self) -> None:
        """A step of the process that runs, if any."""
        if self.running:
            self.running.step()

    def scheduling_delay_s(self) -> float:
        """How long the host lets a process wait for its turn."""
        return self.dice.random() * 0.002

    def trace(self, name: str, text: str) -> None:
        self._write_trace(f"{self.timeline.now_s - START_S:9.4f} {name:12} {text}")

    # ---- from start to end ----------------------------------------------------------------------

    def _source(self, number: int, kind: str) -> SimulatedSource:
        seconds = self.scenario.seconds + (STOP_SPEECH_S if self.scenario.stops else 0)
        sound = compose(self.dice, seconds, first_word=number * 1000)
        room = Room(sound, START_S + SILENCE_S) if kind == "mic" else None
        return SimulatedSource(f"s{number}", sound, f"capture-{number}", room)

    def _start(self) -> None:
        programs = [("journal", "journal", shells.Journal), ("vad", "vad", shells.Vad)]
        for number in range(1, self.settings.transcribe.workers + 1):
            programs.append((f"transcribe-{number}", "transcribe", shells.Transcribe))
        for source in self.sources:
            programs.append((source.program, "capture", lambda process, s=source: shells.Capture(process, s)))
        for number, app in enumerate(self.apps, 1):
            programs.append((f"reader-{number}", APP, lambda process, a=app: shells.Reader(process, a)))
        self.dice.shuffle(programs)
        for name, service, create_shell in programs:
            self.host.add(name, service, create_shell)
        self.host.add(WATCHDOG, WATCHDOG, shells.Watchdog)

    def _end(self) -> None:
        if self.scenario.stops:
            self._stop()
        else:
            self._wait_for(self._is_drained, DRAIN_S, "drained")
            self._wait_for(self._is_delivered, DRAIN_S, "delivered to every app")

    def _wait_for(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Raises ViolationError if the condition does not become true."""
        until_s = self.timeline.now_s + within_s
        while not condition():
            if self.timeline.now_s >= until_s:
                raise ViolationError(f"not within {within_s} s: {what}; {self._describe()}")
            self.run_until(self.timeline.now_s + POLL_S)

    def _is_drained(self) -> bool:
        """vad has published it, of every stream that capture has."""
        vad = self.host.process("vad")
        states = vad.node.sources if vad else ()
        drained = {state.source: state.stream for state in states if state.state == SourceStatus.DRAINED}
        return drained == {source.name: source.stream for source in self.sources}

    def _is_delivered(self) -> bool:
        """Every app has every entry, and no entry waits for its number."""
        rows = self.stored()
        stored = {decode(body).utterance_id for _, body in rows}
        has_all = all(stored <= {entry.utterance_id for entry in app.kept} for app in self.apps)
        return has_all and all(seq for seq, _ in rows)

    def stored(self) -> list[tuple]:
        return self.disk.read("journal.sqlite", "SELECT journal_seq, body FROM entries ORDER BY journal_seq")

    def _stop(self) -> None:
        """As supervise stops the bundle: drained, despite kills; then one service after the other, in its time."""
        self._wait_for(self._is_healthy, DRAIN_S, "healthy")
        shutdown.mark_stopping(Path(self.directory), is_whole=True)
        for name in self.dice.choices(self.host.watched_names(), k=self.dice.randrange(3)):
            self.timeline.at(self.timeline.now_s + self.dice.uniform(0, LAST_KILLS_S), partial(self._kill, name))
        self._wait_for(partial(shutdown.is_drained, Path(self.directory)), DRAIN_S, "drained by a stop")
        for service, timeout_s in STOP_TIMEOUTS_S.items():
            self.host.stopped.add(service)
            programs = [program for program in self.host.programs.values() if program.service == service]
            running = [program.process for program in programs if program.process]
            for process in running:
                process.terminate()
            self._wait_for(partial(_are_dead, running), timeout_s, f"{service} stopped")

    def _kill(self, name: str) -> None:
        if process := self.host.process(name):
            process.kill()

    def _is_healthy(self) -> bool:
        """Every process runs, no fault has effects any more, and vad is up to date."""
        vad = self.host.process("vad")
        states = vad.node.sources if vad else ()
        runs = all(program.process and program.process.is_healthy for program in self.host.programs.values())
        idle = len(states) == len(self.sources) and all(s.state == SourceStatus.LIVE and not s.backlog for s in states)
        return runs and idle and self.network.is_calm() and all(map(self._is_up_to_date, states))

    def _is_up_to_date(self, state: SourceState) -> bool:
        """vad has read the stream to less than MAX_LAG_S before its end."""
        frames = self.witness.frames[state.source, state.stream]
        return bool(frames) and state.position_s > frames[-1].position / SAMPLE_RATE_HZ - MAX_LAG_S

    def _describe(self) -> str:
        vad = self.host.process("vad")
        alive = {name: "frozen" if p.process.is_frozen else "up" for name, p in self.host.programs.items() if p.process}
        kept = [len(app.kept) for app in self.apps]
        return f"{alive}; vad: {vad and vad.node.sources}; {len(self.stored())} stored, {kept} read"

    def _close(self) -> None:
        self.host.stopped |= {program.service for program in self.host.programs.values()}
        for program in self.host.programs.values():
            if program.process:
                program.process.kill()
        self.disk.close()


def _are_dead(processes: list[Process]) -> bool:
    return all(process.dead for process in processes)


class ViolationError(BaseException):
    """The world cannot continue: the promise is broken. No `except Exception` may hide this."""
