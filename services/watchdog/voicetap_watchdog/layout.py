"""The layout of one bundle or container: its programs, its file names in the runtime directory, its environment.

A bundle runs every program under one supervisord. A container runs one program, and shares the runtime directory with
the others: it has a lock, a socket, a log directory and a watchdog of its own, and leaves their files alone.
"""

import os
import resource
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voicetap import config, links, source_spec
from voicetap.config import nearest
from voicetap.errors import SettingsError
from voicetap.service import failpoint, restart_backoff
from voicetap.service.locks import is_held
from voicetap.settings import Settings

PROGRAMS = ("capture", "vad", "transcribe", "journal")  # in the direction of the audio
BUNDLE_LOCK = "bundle"
LOG_BYTES = 1_000_000
OPEN_FILES = 1024
# Audio, segments, transcripts and fired failpoints: kept when the bundle was killed, so that its successor resumes.
STATE_PATTERNS = ("*.ring", "*.new", "cuts-*.sqlite*", "journal.sqlite*", "*.failpoint")


@dataclass(frozen=True)
class BundleLayout:
    """`programs`: those that a container runs; empty for a bundle, which runs all.

    Raises SettingsError for a program that does not exist.
    """

    settings: Settings
    programs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for program in self.programs:
            if program not in PROGRAMS:
                raise SettingsError(f"there is no program {program}{nearest(program, PROGRAMS)}")

    @property
    def is_container(self) -> bool:
        return bool(self.programs)

    @property
    def runs(self) -> tuple[str, ...]:
        """The programs, without the watchdog."""
        return self.programs or PROGRAMS

    @property
    def runtime_dir(self) -> Path:
        return Path(self.settings.runtime_dir).absolute()

    @property
    def lock_name(self) -> str:
        return self._own(BUNDLE_LOCK)

    @property
    def watchdog_name(self) -> str:
        return self._own("watchdog")

    @property
    def watchdog_file(self) -> Path:
        return watchdog_file_path(self.runtime_dir, self.watchdog_name)

    @property
    def supervisord_socket(self) -> Path:
        return self.runtime_dir / f"{self._own('supervisor')}.sock"

    @property
    def log_dir(self) -> Path:
        return self.runtime_dir / self._own("log")

    def log_file(self, process: str) -> Path:
        return self.log_dir / f"{process}.log"

    def process_names(self) -> tuple[str, ...]:
        """Every process that should run: `capture-1`, `vad` …, the watchdog last. Raises SettingsError."""
        counts = {"capture": len(source_spec.parse_all(self.settings)), "transcribe": self.settings.transcribe.workers}
        return (
            *(
                f"{program}-{number}" if program in counts else program
                for program in self.runs
                for number in range(1, counts.get(program, 1) + 1)
            ),
            self.watchdog_name,
        )

    def has_audio(self) -> bool:
        """Whether there is a ring. Without one there is nothing to drain."""
        return any(self.runtime_dir.glob("*.ring"))

    def environment(self, environ: Mapping[str, str], python: str) -> dict[str, str]:
        """The environment of supervisord and its children: exactly these settings, whatever the settings file is."""
        foreign = {name: value for name, value in environ.items() if not name.startswith(config.PREFIX)}
        internal = {
            "VOICETAP_CONFIG": os.devnull,
            "VOICETAP_RUNTIME_DIR": str(self.runtime_dir),
            "VOICETAP_SUPERVISOR_PID": str(os.getpid()),
            "VOICETAP_SUPERVISOR_SOCKET": str(self.supervisord_socket),
            "VOICETAP_CAPTURE_COUNT": str(len(self.settings.sources)),
            "VOICETAP_TRANSCRIBE_WORKERS": str(self.settings.transcribe.workers),
            "VOICETAP_PYTHON": shlex.quote(python),  # part of a command line
            "VOICETAP_PROGRAMS": " ".join(f"programs/{program}.conf" for program in (*self.runs, "watchdog")),
            "VOICETAP_WATCHDOG": self.watchdog_name,
            "VOICETAP_LOG_DIR": str(self.log_dir),
            "VOICETAP_PROGRAM_LOG_DIR": str(self.log_dir).replace("%", "%%"),  # supervisord expands these twice
            "VOICETAP_OPEN_FILES": str(open_files()),
            "VOICETAP_LOG_BYTES": "0" if self.is_container else str(LOG_BYTES),
        }
        failpoints = {name: environ[name] for name in (failpoint.VARIABLE,) if name in environ}
        return foreign | config.as_environment(self.settings) | internal | failpoints

    def create_log_dir(self) -> None:
        """For log files that rotate; in a container their names are links to its stdout."""
        self.log_dir.mkdir(mode=0o700, exist_ok=True)
        if self.is_container:
            for name in (*self.process_names()[:-1], "watchdog", "supervisord"):
                self.log_file(name).symlink_to("/dev/fd/1")

    def remove_stale_files(self) -> None:
        """Removes what exited processes have left, but no audio, segments or transcripts."""
        for path in self._stale_files():
            if not path.is_dir():
                path.unlink(missing_ok=True)
        if self.is_container:  # a bundle's last logs are kept for its user
            self._remove_logs()

    def remove_files(self, is_drained: bool) -> None:
        """After an orderly stop: removes everything; a container leaves the state to the others and its successor.

        `is_drained`: everything that was captured is committed. Otherwise the state stays, and the next start resumes.
        """
        self.remove_stale_files()
        self._remove_logs()
        if is_drained and not self.is_container:
            for pattern in STATE_PATTERNS:
                for path in self.runtime_dir.glob(pattern):
                    path.unlink(missing_ok=True)

    def _own(self, name: str) -> str:
        return "-".join((name, *self.programs))

    def _remove_logs(self) -> None:
        if self.log_dir.is_dir():
            for path in self.log_dir.iterdir():
                path.unlink()
            self.log_dir.rmdir()

    def _stale_files(self) -> Iterator[Path]:
        for pattern in self._file_patterns():
            yield from self.runtime_dir.glob(pattern)
        for pattern in self._socket_patterns():
            yield from (path for path in self.runtime_dir.glob(pattern) if path.is_socket())
        for name in (*self.runs, self.watchdog_name):
            for path in [*self.runtime_dir.glob(f"{name}.lock"), *self.runtime_dir.glob(f"{name}-[0-9]*.lock")]:
                if not is_held(self.runtime_dir, path.stem):
                    yield path

    def _file_patterns(self) -> Iterator[str]:
        yield from (f"{self.supervisord_socket.name}*", self.watchdog_file.name)
        if "capture" in self.runs:
            yield "stopping"
        if not self.is_container:
            yield from ("drained", "*.tmp")
        yield restart_backoff.starts_file(self.watchdog_name)
        for program in self.runs:
            yield from (restart_backoff.starts_file(program), restart_backoff.starts_file(f"{program}-[0-9]*"))

    def _socket_patterns(self) -> Iterator[str]:
        for link in links.LINKS.values():
            if link.bound_by in self.runs:
                yield f"{link.name}-*" if link.per else link.name
        for name in (*self.runs, self.watchdog_name):
            yield from (f"{links.HEARTBEAT.name}-{name}", f"{links.HEARTBEAT.name}-{name}-[0-9]*")


def open_files() -> int:
    """The number of descriptors that supervisord may open: all it may ask for, where that is less than its default."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)


def watchdog_file_path(runtime_dir: Path | str, watchdog_name: str) -> Path:
    """The file by which `supervise` monitors a watchdog: see watchdog_file.py."""
    return Path(runtime_dir, f"{watchdog_name}.pulse")
