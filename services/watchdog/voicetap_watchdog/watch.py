"""The watchdog's eyes and hands: supervisord's list, a pidfd and the heartbeats of every program, and its RPC."""

import logging
import os
import time
from collections.abc import Iterator

from voicetap import links
from voicetap.bus import Receiver
from voicetap.messages import Heartbeat, Status
from voicetap.service import restart_backoff
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node

from . import notify, process_info, pulse
from .judge import Effect, Judge, Kill, Listed, Listing, Report, Start, Tick
from .rpc import Process, Supervisord, Unreachable

LOOK_S = 2.0  # between two looks at the list, when nothing happens
RETRY_S = 0.05

log = logging.getLogger("watchdog")


class Watch:
    """Closes its descriptors at the end of `with`; the sockets are the node's."""

    def __init__(self, node: Node, supervisord: Supervisord, judge: Judge):
        self._node = node
        self._supervisord = supervisord
        self._judge = judge
        self._results = node.sender(links.RESULTS)
        self._processes: dict[str, Process] = {}
        self._receivers: dict[str, Receiver] = {}
        self._pidfds: dict[int, int] = {}  # by pid
        self._next_look_s = 0.0
        self._next_notice_s = 0.0
        self._answers = False
        self._is_ready = False

    def __enter__(self) -> "Watch":
        path = f"{self._node.settings.runtime_dir}/{self._node.name}.pulse"
        self._pulse_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._pulse_fd)
        for pid in list(self._pidfds):
            self._close(pid)

    def look_soon(self) -> None:
        self._next_look_s = 0.0

    def look(self, readable: set[int]) -> None:
        """Asks for the list when it is due; first wakes supervisord when somebody has died."""
        died = [pid for pid, fd in self._pidfds.items() if fd in readable]
        if not died and time.monotonic() < self._next_look_s:
            return
        try:
            if died:
                self._supervisord.poke()
            self._take(self._supervisord.processes())
            self._answers, self._next_look_s = True, time.monotonic() + LOOK_S
        except Unreachable as error:
            if self._answers:
                log.info("supervisord does not answer, or is stopping: %s", error)
            self._answers, self._next_look_s = False, time.monotonic() + RETRY_S
        for pid in died:
            self._close(pid)
        if any(process.pid in died for process in self._processes.values()):
            self.look_soon()  # it is not reaped yet

    def beats(self) -> Iterator[Heartbeat]:
        for receiver in self._receivers.values():
            yield from receiver

    def judge(self) -> None:
        """Only with a list that is true: a supervisord that is stopping ends programs without saying so."""
        now_s = time.monotonic()
        if self._answers:
            self.act(self._judge.step(Tick(), now_s))
        flapping = [f"{name} restarted {count} times" for name, count in self._judge.flapping(now_s).items()]
        self._node.state, self._node.detail = "degraded" if flapping else "ready", ", ".join(flapping)

    def act(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Report):
                self._report(effect)
                continue
            try:
                self._call(effect)
            except Unreachable as error:
                log.warning("%s: %s", effect, error)

    def show_pulse(self) -> None:
        """For supervise, who watches this watchdog, and ends a container whose program cannot be brought back."""
        verdict = pulse.UNWELL if self._judge.lost(time.monotonic()) else pulse.WELL
        mark = f"{os.getpid():10} {time.monotonic_ns():20} {verdict}"  # always of this length: nothing to truncate
        os.pwrite(self._pulse_fd, mark.encode(), 0)

    def tell_systemd(self) -> None:
        """Only while all is well: systemd's WatchdogSec is the watchdog of this watchdog."""
        now_s = time.monotonic()
        if now_s < self._next_notice_s or not (self._answers and self._judge.all_well(now_s)):
            return
        self._next_notice_s = now_s + LOOK_S
        if not self._is_ready and self._judge.all_ready():
            self._is_ready = True
            notify.send("READY=1")
        notify.send("WATCHDOG=1")

    def _call(self, effect: Kill | Start) -> None:
        process = self._processes[effect.name]
        if isinstance(effect, Start):
            self._supervisord.start(process)
        elif process.pid == effect.pid:
            self._supervisord.kill(process)
            failpoint("watchdog.killed")
        self.look_soon()

    def _take(self, processes: tuple[Process, ...]) -> None:
        others = [process for process in processes if process.name != self._node.service]
        self._processes = {process.name: process for process in others}
        for process in others:
            if process.name not in self._receivers:
                self._receivers[process.name] = self._node.receiver(links.HEARTBEAT.of(process.name))
            if process.pid and process.pid not in self._pidfds:
                self._open(process.pid)
        listed = tuple(self._listing(process) for process in others)
        self.act(self._judge.step(Listed(listed), time.monotonic()))

    def _listing(self, process: Process) -> Listing:
        starts_s = restart_backoff.starts_of(self._node.settings.runtime_dir, f"voicetap {process.name}")
        wait_s = restart_backoff.wait_s(starts_s, time.monotonic())  # or half of it, if this start is among them
        age_s = process_info.age_s(process.pid) - wait_s
        return Listing(process.name, process.state, process.pid, process.exit_status, age_s)

    def _open(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:  # dead already: supervisord only has to be told
            self._supervisord.poke()
            return self.look_soon()
        self._pidfds[pid] = fd
        self._node.watch(fd)

    def _close(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        self._node.unwatch(fd)
        os.close(fd)

    def _report(self, report: Report) -> None:
        level = logging.ERROR if report.state in ("flapping", "failed") else logging.WARNING
        log.log(level, "%s %s: %s", report.name, report.state, report.detail)
        self._results.send(Status(source=report.name, state=report.state, detail=report.detail, wall_ns=time.time_ns()))
