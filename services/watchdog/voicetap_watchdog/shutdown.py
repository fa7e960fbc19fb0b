"""The orderly stop of a bundle: what was captured until then is committed before supervisord is stopped."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from voicetap import runtime_dir
from voicetap.errors import EX_CONFIG, SettingsError, Unavailable
from voicetap.service import shutdown
from voicetap.service.locks import Lock, is_held

from .layout import BundleLayout
from .supervisord_rpc import UNREACHABLE, SupervisordClient

# Whose results a program still has to handle when all are stopped at once.
UPSTREAM = {"transcribe": ("vad",), "journal": ("vad", "transcribe")}
log = logging.getLogger("supervise")

POLL_S = 0.02  # while supervisord starts or stops its programs


class BundleShutdown:
    """`child` is supervisord; `wait` sleeps and handles signals; `is_urgent` is true after a second stop signal."""

    def __init__(
        self,
        layout: BundleLayout,
        supervisord: SupervisordClient,
        child: subprocess.Popen,
        wait: Callable[[float], None],
        is_urgent: Callable[[], bool],
    ):
        self._layout = layout
        self._supervisord = supervisord
        self._child = child
        self._wait = wait
        self._is_urgent = is_urgent

    def run(self) -> None:
        """Returns when every program has exited: see the budget in voicetap.service.shutdown."""
        started_s = time.monotonic()
        self._continue_all()
        if self._has_directory():
            self._drain_in_order()
        deadline_s, answers = self._deadline_s(started_s), True
        self._child.send_signal(signal.SIGINT)  # it ignores SIGTERM: see supervisord_main
        while self._child.poll() is None:
            if self._is_urgent() or time.monotonic() > deadline_s:
                self._child.kill()  # its children are killed with it
            answers = answers and self._wake()
            self._wait(POLL_S)
        killed_s = time.monotonic() + shutdown.KILLED_EXIT_S
        while self._has_orphans() and time.monotonic() < killed_s:
            self._wait(POLL_S)

    def _has_directory(self) -> bool:
        """Creates it again if it was removed. False when a file has taken its name: nothing can be drained there."""
        with contextlib.suppress(SettingsError, Unavailable):
            runtime_dir.prepare(str(self._layout.runtime_dir), self._layout.settings.tap_group)
            return True
        return False

    def _drain_in_order(self) -> None:
        if self._layout.is_container:
            shutdown.mark_container_stopping(self._layout.runtime_dir, self._layout.runs[0])
            self._settle()
        if "capture" in self._layout.runs:
            self._mark_stopping()
        if self._layout.is_container:
            self._await_upstream()
        else:
            self._drain()

    def _deadline_s(self, started_s: float) -> float:
        """A container counts from now: it may have waited for others, within its own grace period."""
        return (time.monotonic() if self._layout.is_container else started_s) + shutdown.SUPERVISE_STOP_S

    def _mark_stopping(self) -> None:
        try:
            shutdown.mark_stopping(self._layout.runtime_dir, is_whole=not self._layout.is_container)
        except OSError as error:  # a full disk: the programs stop without it, and their state is kept
            log.error("%s: %s: stopping without a drain", self._layout.runtime_dir, error.strerror)

    def _wake(self) -> bool:
        """False when supervisord is frozen: every further call would time out too."""
        try:
            self._supervisord.wake()
        except TimeoutError:
            return False
        except UNREACHABLE:
            return True  # a stopping supervisord refuses the call, but has been woken by it
        return True

    def _continue_all(self) -> None:
        """Continues supervisord and its children, in case they were stopped by a signal: all take part in the drain."""
        self._child.send_signal(signal.SIGCONT)
        # by the kernel's list of children: a call to supervisord could time out
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for pid in Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGCONT)

    def _drain(self) -> None:
        """Waits until vad has committed everything. A program that dies meanwhile restarts and resumes."""
        deadline_s = time.monotonic() + shutdown.SUPERVISE_DRAIN_S
        with contextlib.suppress(*UNREACHABLE):
            while (
                not self._is_urgent()
                and time.monotonic() < deadline_s
                and not shutdown.is_drained(self._layout.runtime_dir)
            ):
                if not self._can_drain():
                    return
                self._supervisord.wake()
                self._wait(POLL_S)

    def _can_drain(self) -> bool:
        """Whether audio was captured, and no program that a drain needs is misconfigured."""
        if not self._layout.has_audio():
            return False
        processes = self._supervisord.processes()
        able = {each.group for each in processes if each.pid or each.exit_status != EX_CONFIG}
        return {"capture", "vad", "journal"} <= able

    def _await_upstream(self) -> None:
        """Container: if the ones before it in the pipeline are stopped too, waits until they have drained.

        A container that is stopped alone stops at once: its successor resumes, and the others wait for it.
        """
        upstream = UPSTREAM.get(self._layout.runs[0], ())
        notice_s = time.monotonic() + shutdown.UPSTREAM_NOTICE_S
        deadline_s = time.monotonic() + shutdown.UPSTREAM_DRAIN_S
        while not self._is_urgent() and time.monotonic() < deadline_s:
            is_stopping = any(shutdown.is_container_stopping(self._layout.runtime_dir, program) for program in upstream)
            if not is_stopping and time.monotonic() > notice_s:
                return
            self._wait(POLL_S)

    def _settle(self) -> None:
        """Waits for restarting programs: an orderly drain needs all of them."""
        deadline_s = time.monotonic() + shutdown.SUPERVISE_SETTLE_S
        with contextlib.suppress(*UNREACHABLE):
            while not self._is_urgent() and time.monotonic() < deadline_s and not self._is_settled():
                self._supervisord.wake()
                self._wait(POLL_S)

    def _is_settled(self) -> bool:
        """Whether every program that can run does, and holds its lock: during its imports a SIGTERM would kill it."""
        return all(
            each.is_alive() and Lock(self._layout.runtime_dir, each.name).owner() == each.pid
            for each in self._supervisord.processes()
            if each.name != "watchdog" and (each.pid or each.exit_status != EX_CONFIG)
        )

    def _has_orphans(self) -> bool:
        """Whether a program that was killed with supervisord still holds its lock."""
        return any(is_held(self._layout.runtime_dir, name) for name in self._layout.process_names())
