"""What belongs to one supervisord in the runtime directory: names, hand-down environment, and its litter.

One box runs everything. A container runs one program and shares the runtime directory with its neighbours, so
it has a lock, a socket, a log and a watchdog of its own, and touches nothing that is theirs.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voicetap import config, links, source_spec
from voicetap.config import nearest
from voicetap.errors import SettingsError
from voicetap.service import failpoint
from voicetap.service.locks import is_held
from voicetap.settings import Settings

PROGRAMS = ("capture", "vad", "transcribe", "journal")
LOG_BYTES = 1_000_000
# Sound, cuts and transcripts: kept when the bundle was killed, so that it goes on where it was.
STATE = ("*.ring", "*.new", "cuts-*.sqlite*", "journal.sqlite*", "*.failpoint")


@dataclass(frozen=True)
class Box:
    """`programs`: those that a container runs; empty for a box that runs all."""

    settings: Settings
    programs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for program in self.programs:
            if program not in PROGRAMS:
                raise SettingsError(f"there is no program {program}{nearest(program, PROGRAMS)}")

    @property
    def runtime_dir(self) -> Path:
        return Path(self.settings.runtime_dir).absolute()

    @property
    def runs(self) -> tuple[str, ...]:
        return self.programs or PROGRAMS

    @property
    def lock_name(self) -> str:
        return self._own("bundle")

    @property
    def watchdog(self) -> str:
        return self._own("watchdog")

    @property
    def socket(self) -> Path:
        return self.runtime_dir / f"{self._own('supervisor')}.sock"

    @property
    def pulse(self) -> Path:
        """What the watchdog rewrites as long as it turns: see pulse.py."""
        return self.runtime_dir / f"{self.watchdog}.pulse"

    @property
    def log_dir(self) -> Path:
        return self.runtime_dir / self._own("log")

    def _own(self, name: str) -> str:
        return "-".join((name, *self.programs))

    def names(self) -> tuple[str, ...]:
        """Every process that ought to run: `capture-1`, `vad` …"""
        counts = {"capture": len(source_spec.parse_all(self.settings)), "transcribe": self.settings.transcribe.workers}
        return (
            *(
                f"{program}-{number}" if program in counts else program
                for program in self.runs
                for number in range(1, counts.get(program, 1) + 1)
            ),
            self.watchdog,
        )

    def has_heard(self) -> bool:
        """Whether there is a ring: a box that is stopped before that has nothing to finish."""
        return any(self.runtime_dir.glob("*.ring"))

    def environment(self, environ: Mapping[str, str], python: str) -> dict[str, str]:
        """For supervisord and its children: these settings, whatever a file says or comes to say."""
        foreign = {name: value for name, value in environ.items() if not name.startswith(config.PREFIX)}
        handed_down = {
            "VOICETAP_CONFIG": os.devnull,
            "VOICETAP_RUNTIME_DIR": str(self.runtime_dir),
            "VOICETAP_SUPERVISOR_PID": str(os.getpid()),
            "VOICETAP_SUPERVISOR_SOCKET": str(self.socket),
            "VOICETAP_CAPTURE_COUNT": str(len(self.settings.sources)),
            "VOICETAP_TRANSCRIBE_WORKERS": str(self.settings.transcribe.workers),
            "VOICETAP_PYTHON": python,
            "VOICETAP_PROGRAMS": " ".join(f"programs/{program}.conf" for program in (*self.runs, "watchdog")),
            "VOICETAP_WATCHDOG": self.watchdog,
            "VOICETAP_LOG_DIR": str(self.log_dir),
            "VOICETAP_LOG_BYTES": "0" if self.programs else str(LOG_BYTES),
        }
        armed = {name: environ[name] for name in (failpoint.VARIABLE,) if name in environ}
        return foreign | config.as_environment(self.settings) | handed_down | armed

    def make_log_dir(self) -> None:
        """Files that rotate; in a container, our own stdout under the names of files."""
        self.log_dir.mkdir(mode=0o700, exist_ok=True)
        if self.programs:
            for name in (*self.names()[:-1], "watchdog", "supervisord"):
                (self.log_dir / f"{name}.log").symlink_to("/dev/fd/1")

    def tidy(self) -> None:
        """Removes what processes that are gone have left behind, but none of what was heard or said."""
        for path in self._litter():
            if not path.is_dir():
                path.unlink(missing_ok=True)
        if self.programs:  # else the logs of the last run are worth reading
            self._remove_logs()

    def clear(self, is_done: bool) -> None:
        """After a clean stop: nothing stays. A container leaves the state to its neighbours and its successor.

        `is_done`: everything that was heard is committed. Else the state stays, for the next start to go on with.
        """
        self.tidy()
        self._remove_logs()
        if is_done and not self.programs:
            for pattern in STATE:
                for path in self.runtime_dir.glob(pattern):
                    path.unlink(missing_ok=True)

    def _remove_logs(self) -> None:
        if self.log_dir.is_dir():
            for path in self.log_dir.iterdir():
                path.unlink()
            self.log_dir.rmdir()

    def _litter(self) -> Iterator[Path]:
        for pattern in self._patterns():
            yield from self.runtime_dir.glob(pattern)
        for pattern in self._sockets():
            yield from (path for path in self.runtime_dir.glob(pattern) if path.is_socket())
        for name in (*self.runs, self.watchdog):
            for path in [*self.runtime_dir.glob(f"{name}.lock"), *self.runtime_dir.glob(f"{name}-[0-9]*.lock")]:
                if not is_held(self.runtime_dir, path.stem):
                    yield path

    def _patterns(self) -> Iterator[str]:
        yield from (f"{self.socket.name}*", self.pulse.name)
        if "capture" in self.runs:
            yield "stopping"
        if not self.programs:
            yield from ("drained", "*.tmp")
        yield f"voicetap-watchdog-{self.watchdog}.starts"
        for program in self.runs:
            yield from (f"voicetap-{program}.starts", f"voicetap-{program}-[0-9]*.starts")

    def _sockets(self) -> Iterator[str]:
        for link in links.LINKS.values():
            if link.bound_by in self.runs:
                yield f"{link.name}-*" if link.per else link.name
        for name in (*self.runs, self.watchdog):
            yield from (f"{links.HEARTBEAT.name}-{name}", f"{links.HEARTBEAT.name}-{name}-[0-9]*")
