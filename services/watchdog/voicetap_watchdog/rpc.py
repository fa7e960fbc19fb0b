"""supervisord's XML-RPC over its unix socket, bounded in time: a frozen supervisord must not freeze its watchers.

supervisord's loop sleeps up to a second unless something comes in, and needs a few turns to notice a death and act
on it. `poke` is that something.
"""

import http.client
import socket
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TIMEOUT_S = 2.0
POKES = 4  # turns from a child's death to its restart

# What a supervisord can answer a call with that fails: it is gone, frozen, stopping, or refuses.
Unreachable = (OSError, http.client.HTTPException, xmlrpc.client.Error)


@dataclass(frozen=True)
class Process:
    """One program as supervisord sees it; `pid` is 0 while it does not run."""

    name: str
    group: str
    state: str
    pid: int
    exit_status: int


class Supervisord:
    """Every call raises one of `Unreachable` when it fails."""

    def __init__(self, socket_path: str):
        self._socket_path = socket_path

    def poke(self) -> None:
        with self._proxy() as proxy:
            for _ in range(POKES):
                proxy.supervisor.getState()

    def processes(self) -> tuple[Process, ...]:
        with self._proxy() as proxy:
            found = proxy.supervisor.getAllProcessInfo()
        return tuple(
            Process(each["name"], each["group"], each["statename"], each["pid"], each["exitstatus"]) for each in found
        )

    def kill(self, process: Process) -> None:
        """One atomic call: stopProcess and startProcess take seconds, and leave it stopped if we die in between."""
        with self._proxy() as proxy:
            proxy.supervisor.signalProcess(f"{process.group}:{process.name}", "KILL")

    def start(self, process: Process) -> None:
        with self._proxy() as proxy:
            proxy.supervisor.startProcess(f"{process.group}:{process.name}", False)

    @contextmanager
    def _proxy(self) -> Iterator[xmlrpc.client.ServerProxy]:
        with xmlrpc.client.ServerProxy("http://supervisord", transport=_Transport(self._socket_path)) as proxy:
            yield proxy


class _Transport(xmlrpc.client.Transport):
    def __init__(self, socket_path: str):
        super().__init__()
        self._socket_path = socket_path

    def make_connection(self, host: str) -> http.client.HTTPConnection:
        if not self._connection[1]:
            self._connection = host, _Connection(self._socket_path)
        return self._connection[1]


class _Connection(http.client.HTTPConnection):
    def __init__(self, socket_path: str):
        super().__init__("supervisord", timeout=TIMEOUT_S)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._socket_path)
