"""What supervisord knows about its programs, asked over its socket in the runtime directory."""

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

from voicetap.errors import EX_CONFIG

SOCKET_NAME = "supervisor.sock"
LOG_DIR = "log"
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Program:
    """One program as supervisord sees it; `pid` is 0 while it does not run."""

    name: str
    group: str
    pid: int
    state: str  # supervisord's own words, in lower case: running, backoff, exited, fatal …
    exit_code: int
    detail: str

    @property
    def given_up(self) -> bool:
        """No restart will come: its configuration is wrong."""
        return self.state in ("exited", "fatal") and self.exit_code == EX_CONFIG


class Supervisord:
    """A connection per question, bounded in time. Answers are empty while nothing runs."""

    def __init__(self, runtime_dir: str):
        self._runtime_dir = Path(runtime_dir)

    def programs(self) -> dict[str, Program]:
        return {info["name"]: _program(info) for info in self._ask("getAllProcessInfo") or ()}

    def last_words(self, program: str) -> str:
        """The last line that `program` wrote to its log."""
        try:
            log = Path(self._runtime_dir, LOG_DIR, f"{program}.log").read_text(errors="replace")
        except OSError:
            return ""
        return log.strip().rpartition("\n")[2]

    def signal(self, program: str, name: str) -> bool:
        """Sends a signal, such as `KILL`, to one program. False when it does not run."""
        known = self.programs().get(program)
        return bool(known and self._ask("signalProcess", f"{known.group}:{program}", name))

    def _ask(self, question: str, *arguments: object) -> object:
        transport = _Transport(str(self._runtime_dir / SOCKET_NAME))
        with xmlrpc.client.ServerProxy("http://supervisord", transport=transport) as proxy:
            try:
                return getattr(proxy.supervisor, question)(*arguments)
            except (OSError, http.client.HTTPException, xmlrpc.client.Error):
                return None  # not there yet, not there any more, frozen, or no such program


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def make_connection(self, host: str) -> http.client.HTTPConnection:
        self._connection = host, _Connection(self._path)  # where Transport.close looks for it
        return self._connection[1]


class _Connection(http.client.HTTPConnection):
    """supervisor's own has no timeout: a frozen supervisord would freeze who asks."""

    def __init__(self, path: str):
        super().__init__("supervisord", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _program(info: dict) -> Program:
    detail = info["spawnerr"] or info["description"]
    state = info["statename"].lower()
    return Program(info["name"], info["group"], info["pid"], state, info["exitstatus"], detail)
