"""The end of a box, in order: what was said until then is committed before supervisord is told to stop."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from voicetap import runtime_dir
from voicetap.errors import EX_CONFIG
from voicetap.service import shutdown
from voicetap.service.locks import Lock, is_held

from . import process_info
from .box import Box
from .rpc import Supervisord, Unreachable

POKE_S = 0.02  # while supervisord starts or stops its programs


class Ending:
    """`wait` sleeps, and hears signals; `is_urgent` once somebody has said twice to stop."""

    def __init__(
        self,
        box: Box,
        rpc: Supervisord,
        child: subprocess.Popen,
        wait: Callable[[float], None],
        is_urgent: Callable[[], bool],
    ):
        self._box = box
        self._rpc = rpc
        self._child = child
        self._wait = wait
        self._is_urgent = is_urgent

    def stop(self) -> None:
        """Returns when nobody is left."""
        deadline_s, awake = time.monotonic() + shutdown.SUPERVISE_STOP_S, True
        self._thaw()
        if self._box.programs:
            self._settle()
        if "capture" in self._box.runs:
            runtime_dir.prepare(str(self._box.runtime_dir))  # again: it may have been removed
            shutdown.mark_stopping(self._box.runtime_dir, is_whole=not self._box.programs)
        if not self._box.programs:
            self._drain()
        self._child.terminate()
        while self._child.poll() is None:
            if self._is_urgent() or time.monotonic() > deadline_s:
                self._child.kill()  # and its children die with it
            awake = awake and self._poke()
            self._wait(POKE_S)
        gone_s = time.monotonic() + shutdown.KILLED_EXIT_S
        while self._orphans() and time.monotonic() < gone_s:
            self._wait(POKE_S)

    def _poke(self) -> bool:
        """False when supervisord is frozen: every further try would take as long."""
        try:
            self._rpc.poke()
        except TimeoutError:
            return False
        except Unreachable:
            return True  # it is stopping: it refuses to answer, but it was woken
        return True

    def _thaw(self) -> None:
        """Whoever froze whom: all stop in order."""
        self._child.send_signal(signal.SIGCONT)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # as the kernel knows them: that cannot hang
            for pid in Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGCONT)

    def _drain(self) -> None:
        """Until vad says that all that was heard is committed. Who dies meanwhile comes back, and takes part."""
        deadline_s = time.monotonic() + shutdown.SUPERVISE_DRAIN_S
        with contextlib.suppress(*Unreachable):
            while (
                not self._is_urgent()
                and time.monotonic() < deadline_s
                and not shutdown.is_drained(self._box.runtime_dir)
            ):
                if not self._can_drain():
                    return
                self._rpc.poke()
                self._wait(POKE_S)

    def _can_drain(self) -> bool:
        """Whether anything was heard, and nobody it takes is missing for good, because its configuration is wrong."""
        if not self._box.has_heard():
            return False
        processes = self._rpc.processes()
        able = {each.group for each in processes if each.pid or each.exit_status != EX_CONFIG}
        return {"capture", "vad", "journal"} <= able

    def _settle(self) -> None:
        """What died a moment ago comes back first: to end what is being said takes all of them."""
        deadline_s = time.monotonic() + shutdown.SUPERVISE_SETTLE_S
        with contextlib.suppress(*Unreachable):
            while not self._is_urgent() and time.monotonic() < deadline_s and not self._is_settled():
                self._rpc.poke()
                self._wait(POKE_S)

    def _is_settled(self) -> bool:
        """Whether every program is there that can be, and past its imports: before that, a signal is its end."""
        return all(
            process_info.is_alive(each.pid) and Lock(self._box.runtime_dir, each.name).owner() == each.pid
            for each in self._rpc.processes()
            if each.name != "watchdog" and (each.pid or each.exit_status != EX_CONFIG)
        )

    def _orphans(self) -> bool:
        """Whether a program that was killed with supervisord still holds its lock."""
        return any(is_held(self._box.runtime_dir, name) for name in self._box.names())
