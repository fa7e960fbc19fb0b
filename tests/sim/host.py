"""The simulated host's supervisord: keeps every program running, as fast as the watchdog wakes it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicetap.errors import EX_CONFIG
from voicetap.service import restart_backoff
from voicetap_watchdog.liveness import ProcessInfo

from .process import Process, Shell

if TYPE_CHECKING:
    from .world import World

WATCHDOG = "watchdog"
APP = "app"


@dataclass
class Program:
    name: str
    service: str
    create_shell: Callable[[Process], Shell]
    process: Process | None = None
    state: str = "STARTING"
    exit_status: int = 0
    starts_s: list[float] = field(default_factory=list)
    not_before_s: float = 0.0  # it cannot be started before


class Host:
    """Programs by name."""

    def __init__(self, world: "World"):
        self._world = world
        self._pids = 100
        self.programs: dict[str, Program] = {}
        self.stopped: set[str] = set()  # services that are not restarted any more

    def add(self, name: str, service: str, create_shell: Callable[[Process], Shell]) -> None:
        self.programs[name] = Program(name, service, create_shell)
        self.start(name)

    def start(self, name: str) -> None:
        program = self.programs[name]
        if program.process or program.service in self.stopped:
            return
        now_s = self._world.timeline.now_s
        program.starts_s = [*program.starts_s[-9:], now_s]
        self._pids += 1
        program.state = "RUNNING"
        program.process = process = Process(
            self._world, program.service, name, self._pids, program.create_shell, self._on_exit
        )
        process.trace(f"starts as {self._pids}")
        self._world.timeline.at(now_s + self._world.dice.uniform(0.05, 0.2), process.start)

    def kill_and_block(self, process: Process, seconds: float) -> None:
        """Kills a process; it is not restarted for `seconds`."""
        self.programs[process.name].not_before_s = self._world.timeline.now_s + seconds
        process.kill()

    def process(self, name: str) -> Process | None:
        return self.programs[name].process

    def watched_names(self) -> list[str]:
        """The programs that the watchdog watches."""
        return [name for name, program in self.programs.items() if program.service not in (WATCHDOG, APP)]

    def processes(self) -> tuple[ProcessInfo, ...]:
        return tuple(self._info(self.programs[name]) for name in self.watched_names())

    def abort(self, name: str, pid: int) -> None:
        if (process := self.process(name)) and process.pid == pid:
            self._world.witness.count("aborted by the watchdog")
            process.abort()

    def kill(self, name: str, pid: int) -> None:
        if (process := self.process(name)) and process.pid == pid:
            self._world.witness.count("killed by the watchdog")
            process.kill()

    def _info(self, program: Program) -> ProcessInfo:
        pid = program.process.pid if program.process else 0
        age_s = self._world.timeline.now_s - program.starts_s[-1]
        return ProcessInfo(program.name, program.state, pid, program.exit_status, age_s)

    def _on_exit(self, process: Process, status: int) -> None:
        program = self.programs[process.name]
        program.process, program.state, program.exit_status = None, "EXITED", status
        if status == EX_CONFIG:
            self._world.witness.add_violation(f"{process.name} exited because of its configuration")
            return
        now_s = self._world.timeline.now_s
        watched = (watchdog := self.process(WATCHDOG)) and not watchdog.is_frozen
        noticed_s = self._world.dice.uniform(0.02, 0.06 if watched else 2.0)
        again_s = max(program.not_before_s, now_s + noticed_s + restart_backoff.wait_s(program.starts_s, now_s))
        self._world.timeline.at(again_s, lambda: self.start(program.name))
