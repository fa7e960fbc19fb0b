"""The parent of everything: `python -m voicetap_watchdog.supervise [PROGRAM…]` runs until it is told to stop.

Without a program it is a whole box; with one it is a container's share of it. It keeps supervisord running,
which keeps the programs running; SIGTERM or Ctrl-C stops all in order, a second one at once. Afterwards nothing
is left: no process, no socket, no file.
"""

import argparse
import contextlib
import importlib.resources
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from voicetap import config, runtime_dir
from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, SettingsError, Unavailable
from voicetap.service import logs, restart_backoff, shutdown
from voicetap.service.locks import Lock

from .box import Box
from .ending import POKE_S, Ending
from .inbox import Inbox
from .pulse import Pulse, Victim
from .rpc import Process, Supervisord, Unreachable

TICK_S = 0.5
ASK_S = 2.0  # between two questions to supervisord, when nothing happens
FROZEN_S = 6.0  # a supervisord that answers nothing for this long is killed, and started again
TOLD, REMOVED, LOST = "told", "removed", "lost"  # why it ends

log = logging.getLogger("supervise")


class Supervise:
    """supervisord as a child, until a signal comes in."""

    def __init__(self, box: Box, lock: Lock, parent_pid: int, inbox: Inbox):
        self._box = box
        self._lock = lock
        self._inbox = inbox
        self._parent_pid = parent_pid
        self._rpc = Supervisord(str(box.socket))
        limits = box.settings.watchdog
        self._pulse = Pulse(box.pulse, limits.heartbeat_timeout_s, limits.startup_timeout_s)
        self._watchdog = Victim()
        self._told = 0  # how often to stop
        self._starts_s: list[float] = []
        self._child: subprocess.Popen | None = None

    @property
    def is_done(self) -> bool:
        """Whether everything that was heard is committed; who says twice to stop, or removes it, does not care."""
        is_all_said = shutdown.is_drained(self._box.runtime_dir) or not self._box.has_heard()
        return is_all_said or self._told > 1 or not self._lock.is_in_place()

    def run(self) -> str:
        """Until everything has ended, in order; why it did."""
        while not (reason := self._end_reason()):
            self._start()
            self._follow()
            if not self._end_reason():
                log.error("supervisord died: starting it again")
        Ending(self._box, self._rpc, self._child, self._wait, lambda: self._told > 1).stop()
        return reason

    def _end_reason(self) -> str:
        if self._told:
            return TOLD
        if not self._lock.is_in_place():
            return REMOVED
        # a box goes on trying, and systemd hears no more from it; what is in a container nobody outside restarts
        return LOST if self._box.programs and self._pulse.is_unwell else ""

    def _start(self) -> None:
        now_s = time.monotonic()
        again_s = now_s + restart_backoff.wait_s(self._starts_s, now_s)
        while time.monotonic() < again_s and not self._told:
            self._wait(POKE_S)
        self._starts_s = [*self._starts_s[-9:], time.monotonic()]
        self._rearm()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "voicetap_watchdog.supervisord", "-c", str(deploy() / "supervisord.conf")],
            env=self._box.environment(os.environ, sys.executable),
            process_group=0,  # Ctrl-C is for us, who pass it on in order
            stdin=subprocess.DEVNULL,
            stdout=None if self._box.programs else subprocess.DEVNULL,
        )

    def _follow(self) -> None:
        """Until supervisord is dead or we are told to stop."""
        answered_s, ask_s = time.monotonic(), 0.0
        while self._child.poll() is None and not self._end_reason():
            is_silent, is_dead = self._pulse.has_stopped(time.monotonic()), self._watchdog.is_dead()
            with contextlib.suppress(*Unreachable):
                if is_dead:
                    self._rearm()
                    self._rpc.poke()
                if is_silent or is_dead or time.monotonic() >= ask_s:
                    processes = self._rpc.processes()
                    answered_s = time.monotonic()
                    # the first turn of its loop would wait a second before it starts anything
                    is_starting = any(process.state == "STOPPED" for process in processes)
                    ask_s = answered_s + (0 if is_starting else ASK_S)
                    self._watch_the_watchdog(processes, is_silent)
            if time.monotonic() - answered_s > FROZEN_S:
                log.error("supervisord does not answer: killing it")
                self._child.kill()
            self._wait(TICK_S if time.monotonic() < ask_s else POKE_S)

    def _watch_the_watchdog(self, processes: tuple[Process, ...], is_silent: bool) -> None:
        for process in (process for process in processes if process.name == "watchdog" and process.pid):
            self._watchdog.follow(process.pid)
            if is_silent:
                log.error("the watchdog is silent: killing it")
                self._rearm()
                self._rpc.kill(process)

    def _rearm(self) -> None:
        """Another watchdog is about to start, perhaps after waiting because it keeps crashing."""
        now_s = time.monotonic()
        starts_s = restart_backoff.starts_of(str(self._box.runtime_dir), f"voicetap_watchdog {self._box.watchdog}")
        self._pulse.rearm(now_s + restart_backoff.wait_s(starts_s, now_s))

    def _wait(self, timeout_s: float) -> None:
        """For a signal; a parent that has died counts as one."""
        arrived = self._inbox.wait(timeout_s, *self._watchdog.fds)
        self._told += sum(number != signal.SIGCHLD for number in arrived)
        if self._parent_pid and os.getppid() != self._parent_pid:
            self._told = max(self._told, 1)


def deploy() -> Path:
    """Where supervisord.conf is: in the wheel, else in the repository of an editable install."""
    packaged = Path(str(importlib.resources.files(__package__))) / "deploy"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "deploy"


def supervise(box: Box, parent_pid: int, inbox: Inbox) -> str:
    """Until everything has ended; why it did. Raises AddressInUse when the same box runs already."""
    while (reason := supervise_once(box, parent_pid, inbox)) == REMOVED:
        log.error("%s was removed: all of it begins anew", box.runtime_dir)
    if reason == LOST:
        log.error("a program cannot be brought back: ending, for the container to be started anew")
    return reason


def supervise_once(box: Box, parent_pid: int, inbox: Inbox) -> str:
    """In a runtime directory that stays in place."""
    lock = Lock(runtime_dir.prepare(str(box.runtime_dir)), box.lock_name)
    lock.acquire(timeout_s=0)
    try:
        box.tidy()
        box.make_log_dir()
        here = Supervise(box, lock, parent_pid, inbox)
        reason = here.run()
        if not (is_done := bool(box.programs) or here.is_done):
            log.warning("what was said last is not transcribed yet: the next start goes on with it")
        box.clear(is_done)
    finally:
        lock.release()
    with contextlib.suppress(OSError):  # it holds what others put there, or is not ours to remove
        box.runtime_dir.rmdir()
    return reason


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="supervise", description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="run only these, as a container does")
    parser.add_argument("--with-parent", type=int, default=0, metavar="PID", help="stop when this parent dies")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    inbox = Inbox()
    os.umask(0o077)
    logs.set_up("supervise", "INFO")
    try:
        box = Box(config.load(), tuple(given.programs))
        box.names()  # refuses sources that cannot be read
        return 0 if supervise(box, given.with_parent, inbox) == TOLD else EX_TEMPFAIL
    except SettingsError as error:
        log.error("%s", error)
        return EX_CONFIG
    except (OSError, Unavailable) as error:
        log.error("%s", error)
        return EX_TEMPFAIL


if __name__ == "__main__":
    sys.exit(main())
