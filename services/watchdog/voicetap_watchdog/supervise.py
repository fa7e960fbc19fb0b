"""The parent process of supervisord: `python -m voicetap_watchdog.supervise [PROGRAM…]` runs until a stop signal.

Without arguments it runs a bundle, otherwise the programs of one container. It keeps supervisord running, which keeps
the programs running. SIGTERM or Ctrl-C stops everything in order, a second one at once. Afterwards no process, socket
or file is left.
"""

import argparse
import contextlib
import importlib.resources
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from enum import Enum, auto
from pathlib import Path

from voicetap import config, runtime_dir
from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, SettingsError, Unavailable
from voicetap.service import logs, restart_backoff, shutdown
from voicetap.service.locks import Lock

from .layout import BundleLayout
from .liveness import ABORT_S
from .shutdown import POLL_S, BundleShutdown
from .supervisord_rpc import UNREACHABLE, SupervisedProcess, SupervisordClient
from .watchdog_file import ExitMonitor, WatchdogFileReader

TICK_S = 0.5
LIST_S = 2.0  # between two requests for supervisord's list, when nothing happens
LATE_S = 4.0  # a longer turn: it waits TICK_S, and TIMEOUT_S for an answer of supervisord
FROZEN_S = 6.0  # a supervisord that answers nothing for this long is killed and restarted
MAX_FAILED_STARTS = 3
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

log = logging.getLogger("supervise")


class StopReason(Enum):
    SIGNAL = auto()
    REMOVED = auto()  # the runtime directory, or its lock
    PROGRAM_LOST = auto()  # a container's program cannot be restarted


class SignalPipe:
    """Signals as bytes in a pipe.

    sigtimedwait would be shorter, but after SIGSTOP and SIGCONT it reports signals that were never sent.
    """

    def __init__(self) -> None:
        self._read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def wait(self, timeout_s: float, *other_fds: int) -> bytes:
        """The numbers of the signals received, after waiting at most `timeout_s` for one or for another descriptor."""
        ready = select.select([self._read_fd, *other_fds], [], [], timeout_s)[0]
        return os.read(self._read_fd, 64) if self._read_fd in ready else b""


class SupervisordParent:
    """Runs supervisord as a child until there is a reason to stop."""

    def __init__(self, layout: BundleLayout, lock: Lock, parent_pid: int, signals: SignalPipe):
        self._layout = layout
        self._lock = lock
        self._signals = signals
        self._parent_pid = parent_pid
        self._supervisord = SupervisordClient(str(layout.supervisord_socket))
        limits = layout.settings.watchdog
        timeouts_s = (limits.heartbeat_timeout_s, limits.startup_timeout_s)
        self._watchdog_file = WatchdogFileReader(layout.watchdog_file, *timeouts_s)
        self._watchdog_exit = ExitMonitor()
        self._stop_signals = 0
        self._starts_s: list[float] = []
        self._failed_starts = 0  # of supervisord, in succession
        self._child: subprocess.Popen | None = None

    @property
    def is_drained(self) -> bool:
        """Whether no state needs to be kept: all is committed, or a second signal or the removal discards it."""
        is_committed = shutdown.is_drained(self._layout.runtime_dir) or not self._layout.has_audio()
        return is_committed or self._stop_signals > 1 or not self._lock.is_in_place()

    def run(self) -> StopReason:
        """Returns after an orderly stop. Raises Unavailable when supervisord does not start."""
        with tempfile.TemporaryFile() as self._stderr:
            return self._run()

    def _run(self) -> StopReason:
        while not (reason := self._stop_reason()):
            self._start()
            self._monitor()
            if not self._stop_reason():
                self._on_death()
        BundleShutdown(
            self._layout, self._supervisord, self._child, self._wait, is_urgent=lambda: self._stop_signals > 1
        ).run()
        return reason

    def _stop_reason(self) -> StopReason | None:
        if self._stop_signals:
            return StopReason.SIGNAL
        if not self._lock.is_in_place():
            return StopReason.REMOVED
        # a bundle keeps trying, and systemd gets no more notifications; a container has to exit to be restarted
        return StopReason.PROGRAM_LOST if self._layout.is_container and self._watchdog_file.is_unhealthy else None

    def _start(self) -> None:
        now_s = time.monotonic()
        start_s = now_s + restart_backoff.wait_s(self._starts_s, now_s)
        while time.monotonic() < start_s and not self._stop_signals:
            self._wait(POLL_S)
        self._starts_s = [*self._starts_s[-9:], time.monotonic()]
        self._reset_watchdog_timeout()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "voicetap_watchdog.supervisord_main", str(deploy_dir() / "supervisord.conf")],
            env=self._layout.environment(os.environ, sys.executable),
            process_group=0,  # a terminal's Ctrl-C reaches this process alone, which stops the others in order
            stdin=subprocess.DEVNULL,
            stdout=None if self._layout.is_container else subprocess.DEVNULL,
            stderr=self._stderr,
        )

    def _on_death(self) -> None:
        """Raises Unavailable when it ended itself at each of the last starts."""
        reason = self._last_error()
        log.error("supervisord died: restarting it%s", f" ({reason})" if reason else "")
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise Unavailable(f"supervisord does not start: {reason or f'exit status {self._child.returncode}'}")

    def _last_error(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        self._stderr.seek(0)
        self._stderr.truncate()
        return next((line for line in reversed(lines) if line.strip() and not line.startswith("For help")), "")

    def _monitor(self) -> None:
        """Until supervisord has exited or there is a reason to stop."""
        turn_s = answered_s = time.monotonic()
        list_s, has_answered = 0.0, False
        while self._child.poll() is None and not self._stop_reason():
            pause_s, turn_s = time.monotonic() - turn_s, time.monotonic()
            if pause_s > LATE_S:  # this process was stopped, and perhaps supervisord too
                answered_s = turn_s
            elif turn_s - answered_s > FROZEN_S:
                log.error("supervisord does not answer: killing it")
                self._child.kill()
            is_stale, has_exited = self._watchdog_file.is_stale(time.monotonic()), self._watchdog_exit.has_exited()
            with contextlib.suppress(*UNREACHABLE):
                if has_exited:
                    self._reset_watchdog_timeout()
                    self._supervisord.wake()
                if is_stale or has_exited or time.monotonic() >= list_s:
                    processes = self._supervisord.processes()
                    answered_s, has_answered = time.monotonic(), True
                    # the first turn of its loop would sleep a second before it starts anything
                    is_starting = any(process.state == "STOPPED" for process in processes)
                    list_s = answered_s + (0 if is_starting else LIST_S)
                    self._check_watchdog(processes, is_stale)
            self._wait(TICK_S if time.monotonic() < list_s else POLL_S)
        is_failure = not has_answered and (self._child.returncode or 0) > 0  # not by a signal
        self._failed_starts = self._failed_starts + 1 if is_failure else 0

    def _check_watchdog(self, processes: tuple[SupervisedProcess, ...], is_stale: bool) -> None:
        for process in (process for process in processes if process.name == "watchdog" and process.pid):
            self._watchdog_exit.follow(process.pid)
            if is_stale:
                log.error("the watchdog hangs: killing it")
                self._reset_watchdog_timeout()
                self._watchdog_exit.send(signal.SIGABRT)
                self._wait(ABORT_S)  # until it has exited; one that is stopped by a signal does not
                self._watchdog_exit.send(signal.SIGKILL)

    def _reset_watchdog_timeout(self) -> None:
        """Before the watchdog starts, which its restart back-off may delay."""
        now_s = time.monotonic()
        starts_s = restart_backoff.starts_of(self._layout.runtime_dir, self._layout.watchdog_name)
        self._watchdog_file.reset(now_s + restart_backoff.wait_s(starts_s, now_s))

    def _wait(self, timeout_s: float) -> None:
        """For a signal or the exit of the watchdog. The death of the parent counts as a stop signal."""
        received = self._signals.wait(timeout_s, *self._watchdog_exit.fds)
        self._stop_signals += sum(number != signal.SIGCHLD for number in received)
        if self._parent_pid and os.getppid() != self._parent_pid:
            self._stop_signals = max(self._stop_signals, 1)


def deploy_dir() -> Path:
    """The directory of supervisord.conf: in the wheel, or in the repository of an editable install."""
    packaged = Path(str(importlib.resources.files(__package__))) / "deploy"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "deploy"


def supervise(layout: BundleLayout, parent_pid: int, signals: SignalPipe) -> StopReason:
    """Runs until everything has stopped. Raises AddressInUse when another process runs the same bundle or container."""
    while (reason := supervise_once(layout, parent_pid, signals)) is StopReason.REMOVED:
        log.error("%s was removed: starting everything again", layout.runtime_dir)
    if reason is StopReason.PROGRAM_LOST:
        log.error("a program cannot be restarted: exiting, so that the container is restarted")
    return reason


def supervise_once(layout: BundleLayout, parent_pid: int, signals: SignalPipe) -> StopReason:
    """As `supervise`, but also returns when the runtime directory is removed."""
    lock = Lock(runtime_dir.claim(str(layout.runtime_dir), layout.settings.tap_group), layout.lock_name)
    lock.acquire(timeout_s=0)
    try:
        if layout.is_container:
            shutdown.unmark_container_stopping(layout.runtime_dir, layout.runs[0])
        layout.remove_stale_files()
        layout.create_log_dir()
        parent = SupervisordParent(layout, lock, parent_pid, signals)
        reason = parent.run()
        if not (can_remove := layout.is_container or parent.is_drained):
            log.warning("the last utterances are not transcribed yet: the next start resumes with them")
        layout.remove_files(can_remove)
        if layout.is_container:
            shutdown.unmark_container_stopping(layout.runtime_dir, layout.runs[0])
    finally:
        lock.release()
    runtime_dir.remove_if_empty(layout.runtime_dir)
    return reason


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="supervise", description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="run only these, as in a container")
    parser.add_argument("--with-parent", type=int, default=0, metavar="PID", help="stop when this parent dies")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signals = SignalPipe()
    os.umask(0o077)
    logs.set_up("supervise", "INFO")
    try:
        layout = BundleLayout(config.load(), tuple(options.programs))
        layout.process_names()  # raises SettingsError for sources that cannot be parsed
        return 0 if supervise(layout, options.with_parent, signals) is StopReason.SIGNAL else EX_TEMPFAIL
    except SettingsError as error:
        log.error("%s", error)
        return EX_CONFIG
    except (OSError, Unavailable) as error:
        log.error("%s", error)
        return EX_TEMPFAIL


if __name__ == "__main__":
    sys.exit(main())
