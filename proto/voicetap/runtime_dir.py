"""The runtime directory, which holds sockets, locks and state: where it is by default, and how it is made private."""

import errno
import grp
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .errors import SettingsError, Unavailable

_FOR_A_PERSON = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


def default_path(environ: Mapping[str, str] = os.environ) -> str:
    """$XDG_RUNTIME_DIR/voicetap; else /run/voicetap where it can be used; else a private one in /tmp.

    The last is the same for every process of a user, so that a tap finds it; `prepare` refuses it when it belongs to
    somebody else.
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
        if {path.lstat().st_uid, path.stat().st_uid} != {os.getuid()}:  # nor a link that somebody else laid out
            raise PermissionError(errno.EPERM, "it belongs to another user")
        path.chmod(0o700)
        if tap_group:
            share(path, tap_group, 0o710)
    except OSError as error:
        if error.errno not in _FOR_A_PERSON:
            raise Unavailable(f"runtime_dir {path}: {error.strerror}") from None
        raise SettingsError(f"runtime_dir {path}: {error.strerror}; set it to a directory of your own") from None
    return path


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
