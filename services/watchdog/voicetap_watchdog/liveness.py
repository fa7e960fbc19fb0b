"""Liveness of the programs, as a pure state machine: supervisord's list and heartbeats in, kills and restarts out.

A program that hangs is aborted first, so that its faulthandler writes where it hangs, and killed ABORT_S later.

A program is monitored from the moment it is listed, with a startup timeout, and not from its first heartbeat: one that
hung before the watchdog started is found too. A program that was killed before its first heartbeat gets twice the
timeout next time, so that a slow machine comes up in the end. After a step that was itself late every program gets
a new timeout, and no job is past its deadline before that: the heartbeats read next may be older than the pause.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from voicetap.errors import EX_CONFIG
from voicetap.vocabulary import ServiceState

LATE_S = 0.5  # after a longer pause between two steps the watchdog itself was stopped
ABORT_S = 0.3  # for the traceback of every thread; a program stopped by a signal cannot write one
KILL_AGAIN_S = 1.0
FLAPPING_RESTARTS = 5  # more than these within FLAPPING_S are reported as an error; restarts continue all the same
FLAPPING_S = 60.0
MAX_STARTUP_FACTOR = 8
MONITORED_STATES = ("STARTING", "RUNNING")  # supervisord itself has a timeout for those that it stops


class Incident(StrEnum):
    """The state in a Status about a program."""

    KILLED = "killed"
    RESTARTED = "restarted"
    FLAPPING = "flapping"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessInfo:
    """One program in supervisord's list."""

    name: str
    state: str  # in supervisord's words
    pid: int  # 0 while it does not run
    exit_status: int
    age_s: float  # since the end of its restart back-off: negative before


@dataclass(frozen=True)
class ProcessList:
    """supervisord's list, complete."""

    processes: tuple[ProcessInfo, ...]


@dataclass(frozen=True)
class HeartbeatReceived:
    name: str
    pid: int
    state: str  # a ServiceState
    deadline_s: float  # of the job in hand, on the monotonic clock; 0 without one


@dataclass(frozen=True)
class Tick:
    """Time has passed. Due at least every LATE_S, after all waiting heartbeats."""


@dataclass(frozen=True)
class Abort:
    name: str
    pid: int  # a successor with another pid must not be aborted
    reason: str


@dataclass(frozen=True)
class Kill:
    """After an Abort without effect."""

    name: str
    pid: int


@dataclass(frozen=True)
class Start:
    """supervisord could not start the program and does not retry."""

    name: str


@dataclass(frozen=True)
class PublishStatus:
    """For users."""

    name: str
    state: Incident
    detail: str


LivenessEvent = ProcessList | HeartbeatReceived | Tick
LivenessAction = Abort | Kill | Start | PublishStatus


@dataclass
class _ProgramState:
    pid: int = 0
    state: str = ""
    is_misconfigured: bool = False  # a restart does not help
    has_heartbeat: bool = False
    is_ready: bool = False
    startup_factor: int = 1  # of the startup timeout
    heartbeat_deadline_s: float = 0.0
    job_deadline_s: float = 0.0
    kill_s: float | None = None  # when it is killed, once it was aborted
    last_heartbeat_s: float = 0.0  # of any process of this program; at first, when it was listed
    restarts_s: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    @property
    def is_monitored(self) -> bool:
        return bool(self.pid) and self.state in MONITORED_STATES

    def recent_restarts(self, now_s: float) -> int:
        return sum(now_s - restart_s <= FLAPPING_S for restart_s in self.restarts_s)


class LivenessMonitor:
    """Decides which programs to kill, to start and to report."""

    def __init__(self, heartbeat_timeout_s: float, startup_timeout_s: float, give_up_s: float):
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._give_up_s = give_up_s
        self._programs: dict[str, _ProgramState] = {}
        self._last_step_s: float | None = None
        self._jobs_judged_from_s = 0.0

    def step(self, event: LivenessEvent, now_s: float) -> list[LivenessAction]:
        """The actions that `event` requires, in order."""
        if self._last_step_s is not None and now_s - self._last_step_s > LATE_S:
            self._reset_timeouts(now_s)
        self._last_step_s = now_s
        if isinstance(event, ProcessList):
            return [action for info in event.processes for action in self._update(info, now_s)]
        if isinstance(event, HeartbeatReceived):
            self._on_heartbeat(event, now_s)
            return []
        return [action for name, program in self._programs.items() for action in self._check(name, program, now_s)]

    def wait_s(self, now_s: float) -> float:
        """Until a program that was aborted is killed; infinite without one."""
        due_s = [each.kill_s for each in self._programs.values() if each.is_monitored and each.kill_s is not None]
        return max(0.0, min(due_s, default=math.inf) - now_s)

    def is_ready(self) -> bool:
        """Whether every program that can run has reported that it is ready."""
        return bool(self._programs) and all(each.is_ready or each.is_misconfigured for each in self._programs.values())

    def is_healthy(self, now_s: float) -> bool:
        """Whether no heartbeat is overdue, and every program can be restarted."""
        overdue = any(
            each.heartbeat_deadline_s < now_s or each.kill_s for each in self._programs.values() if each.is_monitored
        )
        return not overdue and not self.lost(now_s)

    def lost(self, now_s: float) -> list[str]:
        """Programs without a heartbeat for `give_up_s` in spite of restarts; not those that are misconfigured."""
        programs = self._programs.items()
        return [
            name
            for name, each in programs
            if not each.is_misconfigured and now_s - each.last_heartbeat_s > self._give_up_s
        ]

    def flapping(self, now_s: float) -> dict[str, int]:
        """Programs that restart too often, with their recent number of restarts."""
        counts = {name: each.recent_restarts(now_s) for name, each in self._programs.items()}
        return {name: count for name, count in counts.items() if count > FLAPPING_RESTARTS}

    def _reset_timeouts(self, now_s: float) -> None:
        self._jobs_judged_from_s = now_s + self._heartbeat_timeout_s
        for program in self._programs.values():
            program.heartbeat_deadline_s = max(program.heartbeat_deadline_s, self._jobs_judged_from_s)
            program.last_heartbeat_s = now_s
            program.job_deadline_s = 0.0  # until its next heartbeat

    def _update(self, info: ProcessInfo, now_s: float) -> list[LivenessAction]:
        program = self._programs.setdefault(info.name, _ProgramState(last_heartbeat_s=now_s))
        program.state = info.state
        if info.pid and info.pid != program.pid:
            return self._on_start(program, info, now_s)
        if info.state == "FATAL":
            return [Start(info.name)]
        if info.state == "EXITED" and info.exit_status == EX_CONFIG and not program.is_misconfigured:
            program.is_misconfigured = True
            return [PublishStatus(info.name, Incident.FAILED, "configuration: see its log for what to correct")]
        return []

    def _on_start(self, program: _ProgramState, info: ProcessInfo, now_s: float) -> list[LivenessAction]:
        is_restart = program.pid != 0
        program.pid, program.is_misconfigured, program.job_deadline_s = info.pid, False, 0.0
        program.kill_s = None
        program.has_heartbeat = program.is_ready = False
        startup_s = program.startup_factor * self._startup_timeout_s - info.age_s
        program.heartbeat_deadline_s = now_s + max(self._heartbeat_timeout_s, startup_s)
        if not is_restart:
            return []
        program.restarts_s.append(now_s)
        recent = program.recent_restarts(now_s)
        state = Incident.FLAPPING if recent > FLAPPING_RESTARTS else Incident.RESTARTED
        return [PublishStatus(info.name, state, f"{recent} in the last {FLAPPING_S:.0f} s")]

    def _on_heartbeat(self, heartbeat: HeartbeatReceived, now_s: float) -> None:
        program = self._programs.get(heartbeat.name)
        if not program or program.pid != heartbeat.pid:
            return  # the last one of a process that has exited, or the first one of a process not listed yet
        program.has_heartbeat, program.startup_factor, program.last_heartbeat_s = True, 1, now_s
        if heartbeat.state == ServiceState.STARTING:  # a library that loads a model may still block its loop
            program.heartbeat_deadline_s = now_s + max(self._heartbeat_timeout_s, self._startup_timeout_s)
        else:
            program.is_ready, program.heartbeat_deadline_s = True, now_s + self._heartbeat_timeout_s
        program.job_deadline_s = heartbeat.deadline_s

    def _check(self, name: str, program: _ProgramState, now_s: float) -> list[LivenessAction]:
        if not program.is_monitored:
            return []
        if program.kill_s is not None:
            return self._kill(name, program, now_s)
        if now_s > program.heartbeat_deadline_s:
            reason = "no heartbeat in time"
        elif program.job_deadline_s and now_s > max(program.job_deadline_s, self._jobs_judged_from_s):
            reason = "its job is past its deadline"
        else:
            return []
        program.kill_s = now_s + ABORT_S
        program.startup_factor = 1 if program.has_heartbeat else min(2 * program.startup_factor, MAX_STARTUP_FACTOR)
        return [Abort(name, program.pid, reason), PublishStatus(name, Incident.KILLED, reason)]

    def _kill(self, name: str, program: _ProgramState, now_s: float) -> list[LivenessAction]:
        """Also a program that beats again: SIGABRT stays pending while a process is stopped."""
        if now_s < program.kill_s:
            return []
        program.kill_s = now_s + KILL_AGAIN_S
        return [Kill(name, program.pid)]
