"""The watchdog's inputs and outputs: supervisord's list, a pidfd and the heartbeats of every program; RPC calls."""

import contextlib
import logging
import os
import signal
import socket
import time

from voicetap import links
from voicetap.bus import Receiver
from voicetap.messages import Status
from voicetap.service import restart_backoff
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node
from voicetap.vocabulary import ServiceState

from .layout import watchdog_file_path
from .liveness import (
    Abort,
    HeartbeatReceived,
    Incident,
    Kill,
    LivenessAction,
    LivenessMonitor,
    ProcessInfo,
    ProcessList,
    PublishStatus,
    Start,
    Tick,
)
from .supervisord_rpc import UNREACHABLE, SupervisedProcess, SupervisordClient
from .watchdog_file import WatchdogFileWriter

POLL_S = 2.0  # of supervisord's list, when nothing happens
RETRY_S = 0.05
TICK_S = 0.25

_SIGNALS = {Abort: signal.SIGABRT, Kill: signal.SIGKILL}

log = logging.getLogger("watchdog")


class Watchdog:
    """Connects a LivenessMonitor to supervisord and the bus.

    Closes its file descriptors at the end of `with`; its sockets belong to the node.
    """

    def __init__(self, node: Node, supervisord: SupervisordClient, monitor: LivenessMonitor):
        self._node = node
        self._supervisord = supervisord
        self._monitor = monitor
        self._results = node.sender(links.RESULTS)
        self._file = WatchdogFileWriter(watchdog_file_path(node.settings.runtime_dir, node.name))
        self._processes: dict[str, SupervisedProcess] = {}
        self._receivers: dict[str, Receiver] = {}
        self._pidfds: dict[int, int] = {}  # by pid
        self._next_poll_s = 0.0
        self._next_notice_s = 0.0
        self._has_list = False  # a current one
        self._has_notified_ready = False

    def __enter__(self) -> "Watchdog":
        self._file.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__()
        for pid in list(self._pidfds):
            self._close(pid)

    def poll_soon(self) -> None:
        self._next_poll_s = 0.0

    def wait_s(self) -> float:
        """Until the next kill is due; at most TICK_S."""
        return min(TICK_S, self._monitor.wait_s(time.monotonic()))

    def poll(self, readable: set[int]) -> None:
        """Updates the list when it is due; first wakes supervisord when a program has exited."""
        exited = [pid for pid, fd in self._pidfds.items() if fd in readable]
        if not exited and time.monotonic() < self._next_poll_s:
            return
        try:
            if exited:
                self._supervisord.wake()
            self._update(self._supervisord.processes())
            self._has_list, self._next_poll_s = True, time.monotonic() + POLL_S
        except UNREACHABLE as error:
            if self._has_list:
                log.info("supervisord does not answer, or is stopping: %s", error)
            self._has_list, self._next_poll_s = False, time.monotonic() + RETRY_S
        for pid in exited:
            self._close(pid)
        if any(process.pid in exited for process in self._processes.values()):
            self.poll_soon()  # supervisord has not reaped it yet

    def read_heartbeats(self) -> None:
        for receiver in self._receivers.values():
            for beat in receiver:
                received = HeartbeatReceived(beat.name, beat.pid, beat.state, beat.deadline_ns / 1e9)
                self._monitor.step(received, time.monotonic())

    def check(self) -> None:
        """Kills what is overdue, if the list is current: a stopping supervisord ends programs without reporting it."""
        now_s = time.monotonic()
        if self._has_list:
            self._apply(self._monitor.step(Tick(), now_s))
        flapping = [f"{name} restarted {count} times" for name, count in self._monitor.flapping(now_s).items()]
        self._node.state = ServiceState.DEGRADED if flapping else ServiceState.READY
        self._node.detail = ", ".join(flapping)

    def write_file(self) -> None:
        """For `supervise`, which monitors this watchdog and stops a container whose program cannot be restarted."""
        self._file.write(is_healthy=not self._monitor.lost(time.monotonic()))

    def notify_systemd(self) -> None:
        """Only while everything is healthy: WatchdogSec in systemd's unit restarts the bundle otherwise."""
        now_s = time.monotonic()
        if now_s < self._next_notice_s or not (self._has_list and self._monitor.is_healthy(now_s)):
            return
        self._next_notice_s = now_s + POLL_S
        if not self._has_notified_ready and self._monitor.is_ready():
            self._has_notified_ready = True
            sd_notify("READY=1")
        sd_notify("WATCHDOG=1")

    def _apply(self, actions: list[LivenessAction]) -> None:
        for action in actions:
            if isinstance(action, PublishStatus):
                self._publish(action)
                continue
            try:
                self._call(action)
            except UNREACHABLE as error:
                log.warning("%s: %s", action, error)

    def _call(self, action: Abort | Kill | Start) -> None:
        if isinstance(action, Start):
            self._supervisord.start(self._processes[action.name])
        elif action.pid in self._pidfds:  # never its successor
            with contextlib.suppress(ProcessLookupError):  # it has exited, and its pidfd is readable
                signal.pidfd_send_signal(self._pidfds[action.pid], _SIGNALS[type(action)])
            if isinstance(action, Kill):
                failpoint("watchdog.killed")
        self.poll_soon()

    def _update(self, processes: tuple[SupervisedProcess, ...]) -> None:
        others = [process for process in processes if process.name != self._node.service]
        self._processes = {process.name: process for process in others}
        for process in others:
            if process.name not in self._receivers:
                self._receivers[process.name] = self._node.receiver(links.HEARTBEAT.of(process.name))
            if process.pid and process.pid not in self._pidfds:
                self._open(process.pid)
        infos = tuple(self._info(process) for process in others)
        self._apply(self._monitor.step(ProcessList(infos), time.monotonic()))

    def _info(self, process: SupervisedProcess) -> ProcessInfo:
        starts_s = restart_backoff.starts_of(self._node.settings.runtime_dir, process.name)
        wait_s = restart_backoff.wait_s(starts_s, time.monotonic())  # twice its back-off once this start is recorded
        return ProcessInfo(process.name, process.state, process.pid, process.exit_status, process.age_s() - wait_s)

    def _open(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:  # it has exited already, and supervisord has not noticed
            self._supervisord.wake()
            return self.poll_soon()
        self._pidfds[pid] = fd
        self._node.watch(fd)

    def _close(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        self._node.unwatch(fd)
        os.close(fd)

    def _publish(self, status: PublishStatus) -> None:
        level = logging.ERROR if status.state in (Incident.FLAPPING, Incident.FAILED) else logging.WARNING
        log.log(level, "%s %s: %s", status.name, status.state, status.detail)
        self._results.send(Status(source=status.name, state=status.state, detail=status.detail, wall_ns=time.time_ns()))


def sd_notify(state: str) -> None:
    """Sends `READY=1` or `WATCHDOG=1` to systemd, if it started this bundle and listens."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel,
    ):
        channel.connect(address)
        channel.send(state.encode())
