"""Who is dead: pure, from supervisord's list of programs and their heartbeats to whom to kill.

Every program is armed by the list, with a grace from its start, never by its first beat: one that hung before
the watchdog came is found too. One killed before it was ever heard gets twice the grace next time, so that a slow
machine comes up in the end. A judge that was itself late passes no judgement: what it missed may have been beats.
"""

from collections import deque
from dataclasses import dataclass, field

LATE_S = 0.5  # a step this long after the last one: we were stopped, not they
KILL_AGAIN_S = 1.0
FLAPPING_RESTARTS = 5  # more than these within FLAPPING_S are worth a louder word; none is ever given up
FLAPPING_S = 60.0
MAX_GRACE = 8  # times start_s
EX_CONFIG = 78
RUNNING = ("STARTING", "RUNNING")  # those that supervisord is stopping have a deadline there


@dataclass(frozen=True)
class Listing:
    """One program in supervisord's list; `pid` is 0 while it does not run."""

    name: str
    state: str
    pid: int
    exit_status: int
    age_s: float  # since it may work: negative while it waits because it kept crashing


@dataclass(frozen=True)
class Listed:
    """The whole list."""

    programs: tuple[Listing, ...]


@dataclass(frozen=True)
class Beat:
    name: str
    pid: int
    state: str
    deadline_s: float  # monotonic; 0 is none


@dataclass(frozen=True)
class Tick:
    """Nothing happened. Comes at least every LATE_S, after the beats that waited were read."""


@dataclass(frozen=True)
class Kill:
    name: str
    pid: int  # of the process that is meant: another one by now is innocent
    reason: str


@dataclass(frozen=True)
class Start:
    """supervisord could not start it and gave up."""

    name: str


@dataclass(frozen=True)
class Report:
    """For people."""

    name: str
    state: str  # killed, restarted, flapping, failed
    detail: str


Event = Listed | Beat | Tick
Effect = Kill | Start | Report


@dataclass
class _Program:
    pid: int = 0
    state: str = ""
    failed: bool = False  # its configuration is wrong: only a person can help
    heard: bool = False
    ready: bool = False
    grace: int = 1  # times start_s
    alive_until_s: float = 0.0
    deadline_s: float = 0.0
    heard_s: float = 0.0  # when it was last, as whatever process; at first, when it was listed
    reported_pid: int = 0  # killed and said so
    restarts_s: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    @property
    def judged(self) -> bool:
        return bool(self.pid) and self.state in RUNNING

    def recent_restarts(self, now_s: float) -> int:
        return sum(now_s - restart_s <= FLAPPING_S for restart_s in self.restarts_s)


class Judge:
    def __init__(self, heartbeat_timeout_s: float, startup_timeout_s: float, give_up_s: float):
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._give_up_s = give_up_s
        self._programs: dict[str, _Program] = {}
        self._last_step_s: float | None = None

    def step(self, event: Event, now_s: float) -> list[Effect]:
        """What to do about `event`, in order."""
        if self._last_step_s is not None and now_s - self._last_step_s > LATE_S:
            self._rearm(now_s)
        self._last_step_s = now_s
        if isinstance(event, Listed):
            return [effect for listing in event.programs for effect in self._list(listing, now_s)]
        if isinstance(event, Beat):
            self._hear(event, now_s)
            return []
        return [effect for name, program in self._programs.items() for effect in self._judge(name, program, now_s)]

    def all_ready(self) -> bool:
        """Whether every program that can run has been heard, and said that it can work."""
        return bool(self._programs) and all(each.ready or each.failed for each in self._programs.values())

    def all_well(self, now_s: float) -> bool:
        """Whether no program is overdue, or stays away although it is started again and again."""
        overdue = any(each.alive_until_s < now_s for each in self._programs.values() if each.judged)
        return not overdue and not self.lost(now_s)

    def lost(self, now_s: float) -> list[str]:
        """The programs that could not be brought back for too long; without those that only a person can help."""
        programs = self._programs.items()
        return [name for name, each in programs if not each.failed and now_s - each.heard_s > self._give_up_s]

    def flapping(self, now_s: float) -> dict[str, int]:
        """The programs that are started again too often, and how often of late."""
        counts = {name: each.recent_restarts(now_s) for name, each in self._programs.items()}
        return {name: count for name, count in counts.items() if count > FLAPPING_RESTARTS}

    def _rearm(self, now_s: float) -> None:
        for program in self._programs.values():
            program.alive_until_s = max(program.alive_until_s, now_s + self._heartbeat_timeout_s)
            program.heard_s = now_s
            program.deadline_s = 0.0  # until it says again that it is busy

    def _list(self, listing: Listing, now_s: float) -> list[Effect]:
        program = self._programs.setdefault(listing.name, _Program(heard_s=now_s))
        program.state = listing.state
        if listing.pid and listing.pid != program.pid:
            return self._begin(program, listing, now_s)
        if listing.state == "FATAL":
            return [Start(listing.name)]
        if listing.state == "EXITED" and listing.exit_status == EX_CONFIG and not program.failed:
            program.failed = True
            return [Report(listing.name, "failed", "configuration: its log says what to correct")]
        return []

    def _begin(self, program: _Program, listing: Listing, now_s: float) -> list[Effect]:
        is_restart = program.pid != 0
        program.pid, program.failed, program.deadline_s = listing.pid, False, 0.0
        program.heard = program.ready = False
        startup_s = program.grace * self._startup_timeout_s - listing.age_s
        program.alive_until_s = now_s + max(self._heartbeat_timeout_s, startup_s)
        if not is_restart:
            return []
        program.restarts_s.append(now_s)
        recent = program.recent_restarts(now_s)
        state = "flapping" if recent > FLAPPING_RESTARTS else "restarted"
        return [Report(listing.name, state, f"{recent} in the last {FLAPPING_S:.0f} s")]

    def _hear(self, beat: Beat, now_s: float) -> None:
        program = self._programs.get(beat.name)
        if not program or program.pid != beat.pid:
            return  # the last words of one that is gone, or the first of one not listed yet
        program.heard, program.grace, program.heard_s = True, 1, now_s
        if beat.state == "starting":  # it may well fall silent again, in a library that loads a model
            program.alive_until_s = now_s + max(self._heartbeat_timeout_s, self._startup_timeout_s)
        else:
            program.ready, program.alive_until_s = True, now_s + self._heartbeat_timeout_s
        program.deadline_s = beat.deadline_s

    def _judge(self, name: str, program: _Program, now_s: float) -> list[Effect]:
        if not program.judged:
            return []
        if now_s > program.alive_until_s:
            reason = "no heartbeat in time"
        elif program.deadline_s and now_s > program.deadline_s:
            reason = "its job is past its deadline"
        else:
            return []
        program.alive_until_s, program.deadline_s = now_s + KILL_AGAIN_S, 0.0
        effects: list[Effect] = [Kill(name, program.pid, reason)]
        if program.reported_pid != program.pid:
            program.reported_pid = program.pid
            program.grace = 1 if program.heard else min(2 * program.grace, MAX_GRACE)
            effects.append(Report(name, "killed", reason))
        return effects
