"""The runtime directory, which holds sockets, locks and state: where it is by default, and how it is made private."""

import errno
import grp
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .errors import SettingsError, Unavailable

MARKER = ".voicetap"
_FORMER_FILES = (
    *("*.lock", "*.ring", "*.starts", "*.sock*", "*.pulse", "*.tmp", "*.new", "*.failpoint"),
    *("cuts-*.sqlite*", "journal.sqlite*", "log", "log-*", "stopping*", "drained"),
)
_FOR_A_PERSON = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


def default_path(environ: Mapping[str, str] = os.environ) -> str:
    """$XDG_RUNTIME_DIR/voicetap; else /run/voicetap where it can be used; else a private one in /tmp.

    The last is the same for every process of a user, so that a tap finds it; `prepare` refuses it when it belongs to
    another user.
    """
    if base := environ.get("XDG_RUNTIME_DIR"):
        return f"{base}/voicetap"
    if os.access("/run/voicetap", os.W_OK) or os.access("/run", os.W_OK):
        return "/run/voicetap"
    return f"{tempfile.gettempdir()}/voicetap-{os.getuid()}"


def prepare(runtime_dir: str, tap_group: str = "") -> Path:
    """Creates the runtime directory, private to this user; members of `tap_group` may reach the sockets in it by name.

    Raises SettingsError when only a person can make it usable, Unavailable when a later try may succeed.
    """
    path = Path(runtime_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if {path.lstat().st_uid, path.stat().st_uid} != {os.getuid()}:  # nor a link of another user
            raise PermissionError(errno.EPERM, "it belongs to another user")
        path.chmod(0o700)
        if tap_group:
            share(path, tap_group, 0o710)
    except OSError as error:
        if error.errno not in _FOR_A_PERSON:
            raise Unavailable(f"runtime_dir {path}: {error.strerror}") from None
        raise SettingsError(f"runtime_dir {path}: {error.strerror}; set it to a directory of your own") from None
    return path


def claim(runtime_dir: str, tap_group: str = "") -> Path:
    """As `prepare`, for a process that will also delete files in it: the directory must be voicetap's alone.

    It is marked. An unmarked one is accepted when it is new, empty, or holds nothing but what the version before left.
    Raises SettingsError for any other, before anything in it is changed.
    """
    path = Path(runtime_dir)
    marker = path / MARKER
    if path.is_dir() and not marker.exists() and (foreign := _foreign_name(path)):
        text = f"runtime_dir {path} holds files of others, such as {foreign}"
        raise SettingsError(f"{text}: set it to an empty directory, or one that does not exist")
    prepare(runtime_dir, tap_group)
    try:
        marker.touch(mode=0o600)
    except OSError as error:
        raise Unavailable(f"{marker}: {error.strerror}") from None
    return path


def remove_if_empty(path: Path) -> None:
    """Removes the directory unless it holds anything but its marker, or is not ours to remove."""
    with suppress(OSError):
        if os.listdir(path) == [MARKER]:
            (path / MARKER).unlink()
        path.rmdir()


def _foreign_name(path: Path) -> str:
    """The first name that the version before cannot have left; logs alone are no evidence."""
    names = {entry.name: entry for entry in path.iterdir()}
    foreign = [name for name, entry in names.items() if not (entry.is_socket() or any(map(entry.match, _FORMER_FILES)))]
    return next(iter(foreign or [name for name in names if all(each.startswith("log") for each in names)]), "")


def share(path: Path, group: str, mode: int) -> None:
    """Gives the path to a group, by name or number, with this mode. Raises SettingsError when that is not possible."""
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        os.chown(path, -1, gid)
        path.chmod(mode)
    except KeyError:
        raise SettingsError(f"tap_group: there is no group {group}") from None
    except PermissionError:
        raise SettingsError(f"tap_group: the user of voicetap is not a member of {group}") from None
