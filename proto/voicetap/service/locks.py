"""Locks that keep a second instance of a service out of a runtime directory."""

import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from ..errors import AddressInUse, Unavailable

_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid


class Lock:
    """An exclusive lock on `<name>.lock`, held as long as the process lives; the file contains the owner's pid.

    It is an flock, and on top of it an OFD lock of the whole file, which unlike an flock can be queried. The pid is
    written between the two: a lock that `is_held` reports contains the pid of its holder, not of an earlier one.

    A second process that binds an ipc path silently takes it over, so a service acquires its lock before it binds, and
    unlinks its sockets only while it holds it.
    """

    def __init__(self, runtime_dir: Path, name: str):
        self.path = runtime_dir / f"{name}.lock"
        self._fd = -1

    def acquire(self, timeout_s: float) -> None:
        """Raises AddressInUse when a live process still holds the lock after `timeout_s` seconds."""
        deadline_s = time.monotonic() + timeout_s
        while not self._try():
            if time.monotonic() >= deadline_s:
                raise AddressInUse(f"{self.path.stem} runs already, as process {self.owner() or 'unknown'}")
            time.sleep(0.02)

    def release(self) -> None:
        """Releases the lock and removes its file; a waiting process then creates its own."""
        if self._fd >= 0:
            if self.is_in_place():
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def is_in_place(self) -> bool:
        """Whether the locked file is still the one at its path."""
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
            if is_same_file(self.path, os.fstat(fd).st_ino):  # else the last owner removed it in the meantime
                _write_pid(fd)
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
                self._fd = fd
                return True
        except BlockingIOError:
            pass  # held by another process
        except OSError as error:  # a file system without locks
            os.close(fd)
            raise Unavailable(f"{self.path}: {error.strerror}") from None
        os.close(fd)
        return False


def _write_pid(fd: int) -> None:
    with suppress(OSError):  # a full disk: the file is empty then, and the owner unknown
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)


def is_same_file(path: Path, inode: int) -> bool:
    """Whether `path` still names the file with this inode."""
    try:
        return path.stat().st_ino == inode
    except OSError:
        return False


def is_held(runtime_dir: Path, name: str) -> bool:
    """Whether a live process holds the lock: queried, never acquired, so that no query makes an `acquire` fail."""
    path = Lock(runtime_dir, name).path
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    try:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
    finally:
        os.close(fd)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _whole_file(kind: int) -> bytes:
    """A `struct flock` over the whole file; OFD locks require l_pid 0."""
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)
