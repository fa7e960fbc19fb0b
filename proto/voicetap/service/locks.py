"""Locks that keep a second instance of a service out of a runtime directory."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from ..errors import AddressInUse, Unavailable


class Lock:
    """An flock on `<name>.lock`, held as long as the process lives; the file contains the owner's pid.

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
        with suppress(OSError):  # a full disk: only the text of another process's AddressInUse needs the pid
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)

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
                self._fd = fd
                return True
        except BlockingIOError:
            pass  # held by another process
        os.close(fd)
        return False


def is_same_file(path: Path, inode: int) -> bool:
    """Whether `path` still names the file with this inode."""
    try:
        return path.stat().st_ino == inode
    except OSError:
        return False


def is_held(runtime_dir: Path, name: str) -> bool:
    """Whether a live process holds the lock."""
    lock = Lock(runtime_dir, name)
    if not lock.path.exists():
        return False
    try:
        lock.acquire(timeout_s=0)
    except AddressInUse:
        return True
    lock.release()
    return False
