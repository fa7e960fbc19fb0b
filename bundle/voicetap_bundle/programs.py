"""The programs of a bundle, as its supervisord lists them, and what `supervise` logs."""

import contextlib
import fcntl
import os
import re
import tempfile

from voicetap.settings import Settings
from voicetap_watchdog.layout import BundleLayout
from voicetap_watchdog.supervisord_rpc import UNREACHABLE, SupervisedProcess, SupervisordClient

_THREADS = re.compile(r"  File |Thread 0x|Current thread 0x|Extension modules: ")

MAX_LOG_BYTES = 1 << 20


class ProgramControl:
    """State, last log line and signals of every program. Nothing runs where supervisord does not answer."""

    def __init__(self, settings: Settings):
        self._layout = BundleLayout(settings)
        self._supervisord = SupervisordClient(str(self._layout.supervisord_socket))

    def processes(self) -> dict[str, SupervisedProcess]:
        """By name. Empty while supervisord is starting, frozen or not running."""
        with contextlib.suppress(*UNREACHABLE):
            return {process.name: process for process in self._supervisord.processes()}
        return {}

    def last_log_line(self, program: str) -> str:
        """Without what faulthandler writes about the threads of a program that was aborted. Empty without a log."""
        try:
            log = self._layout.log_file(program).read_text(errors="replace")
        except OSError:
            return ""
        lines = (line for line in reversed(log.splitlines()) if line.strip() and not _THREADS.match(line))
        return next(lines, "")

    def last_exit(self, program: str) -> str:
        """How it ended the last time, as supervisord logged it: `exit status 1`, `terminated by SIGKILL`; or empty."""
        try:
            log = self._layout.log_file("supervisord").read_text(errors="replace")
        except OSError:
            return ""
        exits = re.findall(rf"exited: {re.escape(program)} \(([^;)]*)", log)
        return exits[-1] if exits else ""

    def signal(self, program: str, name: str) -> bool:
        """Sends the signal `name`, such as `KILL`. False when the program does not run."""
        if process := self.processes().get(program):
            with contextlib.suppress(*UNREACHABLE):
                self._supervisord.signal(process, name)
                return True
        return False


class SuperviseLog:
    """What supervise logs. It is shortened now and then, as a bundle may run for months."""

    def __init__(self) -> None:
        self.last_line = ""
        self._offset = 0

    def __enter__(self) -> "SuperviseLog":
        self.file = tempfile.TemporaryFile()
        fcntl.fcntl(self.file, fcntl.F_SETFL, os.O_APPEND)  # its writer goes on at the end, also of a shortened file
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def read(self) -> list[str]:
        """The new lines."""
        self.file.seek(self._offset)
        lines = [line for line in self.file.read().decode(errors="replace").splitlines() if line.strip()]
        self._offset = self.file.tell()
        if self._offset > MAX_LOG_BYTES:
            self.file.truncate(0)
            self._offset = 0
        self.last_line = lines[-1] if lines else self.last_line
        return lines


def message_of(log_line: str) -> str:
    """A log line without its time, logger name and level."""
    return re.split(" (?:ERROR|WARNING) ", log_line)[-1].strip()
