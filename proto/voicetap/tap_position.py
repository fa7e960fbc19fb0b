"""The position of a durable tap: the next entry of its reader, in a small file.

`$XDG_STATE_HOME/voicetap/taps/NAME` (default ~/.local/state) holds the journal's id and the number of the next
entry. It is replaced atomically, so a killed reader or a full disk leaves either the old file or the new one.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .errors import AddressInUse, SettingsError, Unavailable
from .service.locks import Lock

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINE = re.compile(rb"([A-Za-z0-9]{1,64}) ([0-9]{1,18})\n")

log = logging.getLogger("tap")


class Position(NamedTuple):
    """The next entry of a journal; the first entry of any journal when `journal_id` is empty."""

    journal_id: str = ""
    next_seq: int = 1


class PositionStore:
    """Loads and saves one position.

    Raises SettingsError for a bad name or directory, AddressInUse for a second reader.
    """

    def __init__(self, name: str, environ: Mapping[str, str] = os.environ):
        if not _NAME.fullmatch(name):
            raise SettingsError(f"durable: {name!r} is not a name of letters, digits, - and _")
        self._path = directory(environ) / name
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(self._path.parent, name)
            self._lock.acquire(timeout_s=0)
        except OSError as error:
            raise SettingsError(f"durable: {self._path.parent}: {error.strerror}; set XDG_STATE_HOME") from None
        except AddressInUse:
            raise AddressInUse(
                f"the tap {name} is read already, by process {self._lock.owner() or 'unknown'}"
            ) from None

    def close(self) -> None:
        self._lock.release()

    def load(self) -> Position | None:
        """None when nothing was saved yet, or when the file is damaged; entries may then be delivered again."""
        try:
            line = self._path.read_bytes()
        except FileNotFoundError:
            return None
        if match := _LINE.fullmatch(line):
            return Position(match[1].decode(), int(match[2]))
        log.error("%s is damaged: starting with the oldest entry", self._path)
        return None

    def save(self, position: Position) -> None:
        """The position is on disk when this returns.

        Raises Unavailable when it cannot be written; the old one then stays.
        """
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(f"{position.journal_id} {position.next_seq}\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._path)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from None


def directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of this user's durable taps."""
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or Path.home()}/.local/state"
    return Path(home, "voicetap/taps")
