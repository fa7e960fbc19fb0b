"""supervisord's XML-RPC over its unix socket, with a timeout: a frozen supervisord must not block its clients.

supervisord's loop sleeps up to a second without input, and takes several turns to reap and restart a program: `wake`
provides that input.
"""

import http.client
import os
import socket
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from voicetap.errors import EX_CONFIG

TIMEOUT_S = 2.0
WAKE_CALLS = 4  # turns of supervisord's loop from the exit of a program to its restart

# What a call raises when supervisord is not running, frozen or stopping, or refuses.
UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)


@dataclass(frozen=True)
class SupervisedProcess:
    """One process in supervisord's list."""

    name: str
    group: str
    state: str  # in supervisord's words: STARTING, RUNNING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL
    pid: int  # 0 while it does not run
    exit_status: int
    detail: str = ""

    @property
    def is_misconfigured(self) -> bool:
        """Whether supervisord does not restart it, because it exited with EX_CONFIG."""
        return self.state in ("EXITED", "FATAL") and self.exit_status == EX_CONFIG

    def is_alive(self) -> bool:
        """Whether the kernel lists its pid, and not as a zombie."""
        return bool(stat := self._stat()) and stat[0] not in "ZX"

    def age_s(self) -> float:
        """Seconds since the kernel started it; 0 when it does not run."""
        stat = self._stat()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / os.sysconf("SC_CLK_TCK") if stat else 0.0

    def _stat(self) -> list[str]:
        """The fields of /proc/PID/stat from the state on; empty when there is no such process."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return []


class SupervisordClient:
    """One connection per call. Every method raises one of UNREACHABLE when it fails."""

    def __init__(self, socket_path: str):
        self._socket_path = socket_path

    def wake(self) -> None:
        """Makes supervisord's loop turn often enough to reap and restart a program that has exited."""
        with self._proxy() as proxy:
            for _ in range(WAKE_CALLS):
                proxy.supervisor.getState()

    def processes(self) -> tuple[SupervisedProcess, ...]:
        with self._proxy() as proxy:
            return tuple(_process(info) for info in proxy.supervisor.getAllProcessInfo())

    def signal(self, process: SupervisedProcess, name: str) -> None:
        """Sends the signal `name`, such as `KILL`, in one atomic call.

        stopProcess and startProcess would take seconds, and leave the program stopped if the caller died in between.
        """
        with self._proxy() as proxy:
            proxy.supervisor.signalProcess(f"{process.group}:{process.name}", name)

    def start(self, process: SupervisedProcess) -> None:
        with self._proxy() as proxy:
            proxy.supervisor.startProcess(f"{process.group}:{process.name}", False)

    @contextmanager
    def _proxy(self) -> Iterator[xmlrpc.client.ServerProxy]:
        with xmlrpc.client.ServerProxy("http://supervisord", transport=_Transport(self._socket_path)) as proxy:
            yield proxy


def _process(info: dict) -> SupervisedProcess:
    detail = info["spawnerr"] or info["description"]
    return SupervisedProcess(
        info["name"], info["group"], info["statename"], info["pid"], info["exitstatus"], detail=detail
    )


class _Transport(xmlrpc.client.Transport):
    def __init__(self, socket_path: str):
        super().__init__()
        self._socket_path = socket_path

    def make_connection(self, host: str) -> http.client.HTTPConnection:
        if not self._connection[1]:
            self._connection = host, _Connection(self._socket_path)
        return self._connection[1]


class _Connection(http.client.HTTPConnection):
    """supervisor's own has no timeout."""

    def __init__(self, socket_path: str):
        super().__init__("supervisord", timeout=TIMEOUT_S)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._socket_path)
