"""One service process on the bus: its lock, sockets, heartbeat and orderly shutdown.

Three failures, one recovery. supervisord restarts a process that crashed. The watchdog ends one whose heartbeat is
missing because it hangs or is frozen: first with SIGABRT, upon which faulthandler prints where it hangs, even while C
code holds the GIL. The heartbeat is sent by the work loop: it means that the loop turned. A service started by hand has
no watchdog, but a timer of faulthandler, re-armed by the loop. Under the watchdog it would be wrong: when all processes
are frozen for longer and continue, every timer has expired before its loop can turn.
"""

import faulthandler
import logging
import math
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from .. import links, runtime_dir
from ..bus import Bus, Receiver, Sender
from ..config import load
from ..errors import EX_CONFIG, EX_TEMPFAIL, ConfigError, SettingsError, Unavailable
from ..links import Link
from ..messages import Heartbeat, SourceState
from ..settings import Settings
from ..vocabulary import ServiceState
from . import logs
from .failpoint import failpoint
from .locks import Lock

HEARTBEAT_PERIOD_S = 0.5
# Periodic sends due within 0.25 s of a heartbeat go out with it, to save a wake-up.
HEARTBEAT_COALESCE_S = 0.25
REARM_PERIOD_S = 2.0
FIRST_HEARTBEAT_PERIOD_S = 0.02  # doubled with each heartbeat, so that new peers receive one soon
REMOVED_TIMEOUT_S = 6.0  # supervise reacts sooner when the whole directory is gone, with an orderly stop
LOCK_TIMEOUT_S = 5.0  # the last instance may still be shutting down

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # under supervisord SIGINT alone: see launch.ignore_sigterm

log = logging.getLogger("node")


class Node:
    """A service on the bus.

    `with Node("vad", settings) as node:` then `while node.alive(): node.wait(0.1); ...`. Set `state`,
    `detail`, `queue_depth`, `deadline_ns` and `sources` whenever they change: the next heartbeat carries them.
    """

    def __init__(self, service: str, settings: Settings, number: int = 0, name: str = ""):
        self.service = service
        self.name = name or (f"{service}-{number}" if number else service)
        self.settings = settings
        self.boot_id = secrets.token_hex(4)
        self.state: str = ServiceState.STARTING
        self.detail = ""
        self.queue_depth = 0
        self.deadline_ns = 0
        self.drops = 0  # beyond what the sockets count
        self.sources: tuple[SourceState, ...] = ()
        self.stopping = False
        self._bus = Bus(service, settings)
        self._signals = _Signals(self._stop, self._bus)
        self._senders: list[Sender] = []
        self._receivers: list[Receiver] = []
        self._heartbeat_seq = 0
        self._heartbeat_period_s = FIRST_HEARTBEAT_PERIOD_S
        self._next_heartbeat_s = 0.0
        self._next_rearm_s = math.inf
        self._files_checked_s = 0.0  # when all our files were last in place

    def __enter__(self) -> "Node":
        with ExitStack() as stack:  # closes everything if anything below fails
            stack.enter_context(self._signals)  # first, so that SIGTERM finds nothing half open
            self._lock = Lock(runtime_dir.prepare(self.settings.runtime_dir, self.settings.tap_group), self.name)
            self._lock.acquire(LOCK_TIMEOUT_S)
            stack.callback(self._lock.release)
            failpoint(f"{self.service}.locked")
            stack.enter_context(self._bus)
            self._heartbeats = self.sender(links.HEARTBEAT.of(self.name))
            if not _is_supervised():
                self._next_rearm_s = 0.0
                stack.callback(faulthandler.cancel_dump_traceback_later)
            self._statm_fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._statm_fd)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def sender(self, link: Link) -> Sender:
        self._senders.append(sender := self._bus.sender(link))
        return sender

    def receiver(self, link: Link, topics: tuple[str, ...] = ("",)) -> Receiver:
        self._receivers.append(receiver := self._bus.receiver(link, topics))
        return receiver

    def close(self, end: Sender | Receiver) -> None:
        """Closes one socket early; its drop counts are kept."""
        if isinstance(end, Sender):
            self._senders.remove(end)
            self.drops += end.drops
        else:
            self._receivers.remove(end)
            self.drops += end.rejected
        self._bus.close(end)

    def watch(self, fd: int) -> None:
        """Makes `wait` return when `fd` is readable."""
        self._bus.watch(fd)

    def unwatch(self, fd: int) -> None:
        self._bus.unwatch(fd)

    def wait(self, timeout_s: float) -> set[int]:
        """Waits for a message, a signal or a watched descriptor; at most until the next heartbeat is due."""
        return self._signals.clear(self._bus.wait(self._until_heartbeat_s(timeout_s)))

    def sleep(self, timeout_s: float) -> set[int]:
        """As `wait`, but messages do not end it: for loops that may process them in batches."""
        return self._signals.clear(self._bus.sleep(self._until_heartbeat_s(timeout_s)))

    def alive(self) -> bool:
        """True until a stop signal. Call once per turn of the work loop: it sends the heartbeat when it is due.

        Raises Unavailable when our files were removed, as new peers could not connect.
        """
        self.beat()
        return not self.stopping

    def beat(self) -> None:
        """Sends the heartbeat when it is due; for drain loops, after `alive` is False."""
        now_s = time.monotonic()
        if now_s < self._next_heartbeat_s:
            return
        self._next_heartbeat_s = now_s + self._heartbeat_period_s
        self._heartbeat_period_s = min(2 * self._heartbeat_period_s, HEARTBEAT_PERIOD_S)
        failpoint(f"{self.service}.beat")  # before the first: bound, and not received by any peer yet
        self._heartbeat_seq += 1
        self._rearm(now_s)
        self._heartbeats.send(self._heartbeat())
        self._check_files(now_s)

    def beat_now(self) -> None:
        """Sends a heartbeat at once, for a change of state that peers wait for."""
        self._next_heartbeat_s = 0.0
        self.beat()

    def _rearm(self, now_s: float) -> None:
        """Not with every heartbeat, as it starts a thread; so the period is added to the timeout."""
        if now_s >= self._next_rearm_s:
            period_s = min(REARM_PERIOD_S, self.settings.loop_timeout_s)
            self._next_rearm_s = now_s + period_s
            faulthandler.dump_traceback_later(self.settings.loop_timeout_s + period_s + HEARTBEAT_PERIOD_S, exit=True)

    def _check_files(self, now_s: float) -> None:
        removed = self._bus.removed_socket_file() or (None if self._lock.is_in_place() else self._lock.path)
        if not removed or self.stopping:
            self._files_checked_s = now_s
        elif now_s - self._files_checked_s > REMOVED_TIMEOUT_S:
            raise Unavailable(f"{removed} was removed: restarting")

    def _until_heartbeat_s(self, timeout_s: float) -> float:
        return min(timeout_s, max(0.0, self._next_heartbeat_s - time.monotonic()))

    def _heartbeat(self) -> Heartbeat:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Heartbeat(
            service=self.service,
            name=self.name,
            pid=os.getpid(),
            boot_id=self.boot_id,
            seq=self._heartbeat_seq,
            state=ServiceState.DRAINING if self.stopping else self.state,
            detail=self.detail,
            queue_depth=self.queue_depth,
            drops=self.drops + sum(end.drops for end in self._senders) + sum(end.rejected for end in self._receivers),
            deadline_ns=self.deadline_ns,
            cpu_s=usage.ru_utime + usage.ru_stime,
            rss_bytes=int(os.pread(self._statm_fd, 128, 0).split()[1]) * resource.getpagesize(),
            sources=self.sources,
        )

    def _stop(self) -> None:
        self.stopping = True


def run(service: str, main: Callable[[Settings], None]) -> None:
    """The `__main__` of a service: loads settings, sets up logging, and logs one line for errors that users cause."""
    logs.set_up(service, "INFO")
    try:
        settings = load()
        logs.set_up(service, settings.log_level)
        main(settings)
    except (SettingsError, ConfigError) as error:
        log.error("%s", error)
        sys.exit(EX_CONFIG)
    except Unavailable as error:
        log.error("%s", error)
        sys.exit(EX_TEMPFAIL)


def _stop_signals() -> tuple[signal.Signals, ...]:
    return _STOP_SIGNALS[1:] if _is_supervised() else _STOP_SIGNALS


def _is_supervised() -> bool:
    return bool(os.environ.get("VOICETAP_SUPERVISOR_PID"))


class _Signals:
    """The first SIGTERM or SIGINT calls `stop`; a wake-up descriptor ends the poll in progress."""

    def __init__(self, stop: Callable[[], None], bus: Bus):
        self._stop = stop
        self._bus = bus

    def __enter__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._bus.watch(self._read_fd)
        self._old = {number: signal.signal(number, self._handle) for number in _stop_signals()}

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._bus.unwatch(self._read_fd)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def clear(self, ready: set[int]) -> set[int]:
        """`ready` without the wake-up descriptor, which is read here: in the handler, the poll would continue."""
        if self._read_fd in ready:
            os.read(self._read_fd, 64)
        return ready - {self._read_fd}

    def _handle(self, number: int, frame: object) -> None:
        for repeated in _stop_signals():  # a second one ends the process at once, even while C code hangs
            signal.signal(repeated, signal.SIG_DFL)
        self._stop()
