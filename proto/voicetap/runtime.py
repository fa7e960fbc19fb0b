"""The runtime directory, and the locks that keep a second instance of a service out of it."""

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from .config import SettingsError

EX_TEMPFAIL = 75  # sysexits.h: somebody else holds it, try again
EX_CONFIG = 78  # sysexits.h: no restart will cure it
_FOR_A_PERSON = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


class Unavailable(RuntimeError):
    """Something is not to be had now, but may be at the next start. The text is one line to act on."""


class AddressInUse(Unavailable):
    """A live instance holds the name; the text says which process."""


def prepare(runtime_dir: str) -> Path:
    """Makes the runtime directory, private to this user. Raises SettingsError if that cannot be had."""
    path = Path(runtime_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if {path.lstat().st_uid, path.stat().st_uid} != {os.getuid()}:  # nor a link that somebody else laid out
            raise PermissionError(errno.EPERM, "it belongs to another user")
        path.chmod(0o700)
    except OSError as error:
        if error.errno not in _FOR_A_PERSON:
            raise Unavailable(f"runtime_dir {path}: {error.strerror}") from None
        raise SettingsError(f"runtime_dir {path}: {error.strerror}; set it to a directory of your own") from None
    return path


class Lock:
    """An flock on `<name>.lock`, held as long as the process lives; the file holds the owner's pid.

    A second binder of an ipc path silently steals it, so a service takes its lock before it binds and
    unlinks its sockets only while it holds it.
    """

    def __init__(self, runtime_dir: Path, name: str):
        self.path = runtime_dir / f"{name}.lock"
        self._fd = -1

    def acquire(self, patience_s: float) -> None:
        """Raises AddressInUse when a live process still holds the lock after `patience_s`."""
        deadline_s = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() >= deadline_s:
                raise AddressInUse(f"{self.path.stem} runs already, as process {self.owner() or 'unknown'}")
            time.sleep(0.02)
        with suppress(OSError):  # a full disk: only the text of somebody else's AddressInUse needs the pid
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Gives the lock back and removes its file; for those who wait it is as if it never was."""
        if self._fd >= 0:
            if self.is_in_place():
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def is_in_place(self) -> bool:
        """Whether the file that is held is still the one that others find."""
        return is_same_file(self.path, os.fstat(self._fd).st_ino)

    def owner(self) -> int:
        """The pid in the file, or 0."""
        try:
            return int(self.path.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def _try(self) -> bool:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same_file(self.path, os.fstat(fd).st_ino):  # else the last owner removed it meanwhile
                self._fd = fd
                return True
        except BlockingIOError:
            pass  # held: the caller tries again
        os.close(fd)
        return False


def is_same_file(path: Path, inode: int) -> bool:
    """Whether `path` still names the file that it did."""
    try:
        return path.stat().st_ino == inode
    except OSError:
        return False


def say_stopping(runtime_dir: Path, is_whole: bool) -> None:
    """Before capture is told to stop. `is_whole`: all of the box ends, and nothing of it will be kept."""
    _stopping(runtime_dir).write_text("all" if is_whole else "capture")


def is_stopping(runtime_dir: str) -> bool:
    """Whether a capture that is told to stop will not be started again: what is being said ends here."""
    return _stopping(runtime_dir).exists()


def is_ending(runtime_dir: str) -> bool:
    """Whether all of the box ends: who is told to stop has no successor that could finish its work."""
    try:
        return _stopping(runtime_dir).read_text() == "all"
    except OSError:
        return False


def say_drained(runtime_dir: str) -> None:
    """All of the box ends, and everything that was heard is committed."""
    _drained(runtime_dir).touch(0o600)


def is_drained(runtime_dir: Path) -> bool:
    """Whether nothing is lost when sound and cuts are removed."""
    return _drained(runtime_dir).exists()


def _drained(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "drained")


def _stopping(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "stopping")


def is_held(runtime_dir: Path, name: str) -> bool:
    """Whether a live process holds the lock."""
    lock = Lock(runtime_dir, name)
    if not lock.path.exists():
        return False
    try:
        lock.acquire(patience_s=0)
    except AddressInUse:
        return True
    lock.release()
    return False


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    return bool(stat := _stat(pid)) and stat[0] not in "ZX"


def age_s(pid: int) -> float:
    """How long the process has been there, by the kernel's clock; 0 when it is not."""
    stat = _stat(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def _stat(pid: int) -> list[str]:
    """The kernel's fields from its state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
