"""The runtime directory and its locks."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from voicetap.errors import AddressInUse, SettingsError, Unavailable
from voicetap.runtime_dir import claim, prepare, remove_if_empty
from voicetap.service import locks
from voicetap.service.locks import Lock, is_held
from voicetap.service.shutdown import is_bundle_stopping, is_stopping, mark_stopping

HOLDER = """
import sys
from pathlib import Path
from voicetap.service.locks import Lock
Lock(Path(sys.argv[1]), "vad").acquire(0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock `vad`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_live_holder_is_named(holder, tmp_path):
    with pytest.raises(AddressInUse, match=f"^vad runs already, as process {holder.pid}$"):
        Lock(tmp_path, "vad").acquire(0)
    assert is_held(tmp_path, "vad") and not is_held(tmp_path, "journal")


def test_a_killed_holder_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "vad.lock").exists() and not is_held(tmp_path, "vad")
    lock = Lock(tmp_path, "vad")
    lock.acquire(0)
    assert lock.owner() == os.getpid() and (tmp_path / "vad.lock").stat().st_mode & 0o777 == 0o600
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_given_back_can_be_had_by_those_who_waited(tmp_path):
    first, second = Lock(tmp_path, "vad"), Lock(tmp_path, "vad")
    first.acquire(0)
    first.release()
    second.acquire(0)
    with pytest.raises(AddressInUse):
        first.acquire(0)
    second.release()


def test_the_directory_is_made_private(tmp_path):
    path = prepare(str(tmp_path / "a" / "b"))
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o755)
    assert prepare(str(path)).stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_ours_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SettingsError, match="runtime_dir .*; set it to a directory of your own"):
            prepare(str(wrong))
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(SettingsError, match="belongs to another user"):
        prepare(str(tmp_path))


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, SettingsError), (errno.ENOSPC, Unavailable)])
def test_a_directory_that_cannot_be_had_is_one_line(tmp_path, monkeypatch, number, kind):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(kind, match=os.strerror(number)):
        prepare(str(tmp_path / "run"))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unavailable, match="vad.lock"):
        Lock(tmp_path, "vad").acquire(0)


def test_a_lock_whose_file_was_replaced_leaves_the_new_one(tmp_path):
    lock = Lock(tmp_path, "vad")
    lock.acquire(0)
    assert lock.is_in_place()
    lock.path.unlink()
    assert not lock.is_in_place()
    lock.path.touch()
    lock.release()
    assert lock.path.exists()


def test_whether_everything_ends_is_said_before(tmp_path):
    assert not is_stopping(str(tmp_path)) and not is_bundle_stopping(str(tmp_path))
    mark_stopping(tmp_path, is_whole=False)
    assert is_stopping(str(tmp_path)) and not is_bundle_stopping(str(tmp_path))
    mark_stopping(tmp_path, is_whole=True)
    assert is_stopping(str(tmp_path)) and is_bundle_stopping(str(tmp_path))


PROBER = """
import sys
from pathlib import Path
from voicetap.service.locks import is_held
print("probing", flush=True)
while True:
    is_held(Path(sys.argv[1]), "vad")
"""


def test_a_query_in_a_tight_loop_never_makes_a_lock_fail_and_leaves_it_alone(tmp_path):
    """A query that acquired the lock failed 359 of 623 attempts, and wrote its own pid for `down` to signal."""
    with subprocess.Popen([sys.executable, "-c", PROBER, str(tmp_path)], stdout=subprocess.PIPE) as prober:
        assert prober.stdout.readline() == b"probing\n"
        for _ in range(1000):
            lock = Lock(tmp_path, "vad")
            lock.acquire(0)
            assert lock.is_in_place() and lock.owner() == os.getpid()
            lock.release()
        assert prober.poll() is None
        prober.kill()


def test_a_query_writes_nothing(holder, tmp_path):
    path = tmp_path / "vad.lock"
    before = path.stat()
    assert is_held(tmp_path, "vad")
    holder.kill()
    holder.wait()
    path.chmod(0o400)
    assert not is_held(tmp_path, "vad")
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.read_text() == str(holder.pid)


def test_a_process_of_the_former_version_holds_its_lock(tmp_path):
    """It takes the flock alone."""
    with (tmp_path / "vad.lock").open("w") as former:
        fcntl.flock(former, fcntl.LOCK_EX)
        with pytest.raises(AddressInUse):
            Lock(tmp_path, "vad").acquire(0)


def test_a_lock_that_is_held_contains_the_pid_of_its_holder(tmp_path, monkeypatch):
    """Between the flock and the pid there may be the pid of a process that was killed, which `down` must not signal."""
    (tmp_path / "vad.lock").write_text("4711")
    write_pid = locks._write_pid
    queried = []

    def query_before_writing(fd: int) -> None:
        queried.append(is_held(tmp_path, "vad"))
        write_pid(fd)

    monkeypatch.setattr(locks, "_write_pid", query_before_writing)
    Lock(tmp_path, "vad").acquire(0)
    assert queried == [False] and is_held(tmp_path, "vad")


def test_a_directory_is_claimed_when_it_is_new_empty_marked_or_left_by_the_version_before(tmp_path):
    for number, names in enumerate(((), (".voicetap", "notes.txt"), ("vad.lock", "audio-mic.ring", "log", "history"))):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in names:
            (directory / name).mkdir() if name == "log" else (directory / name).touch()
        if "history" in names:
            (directory / "history").unlink()
            with socket.socket(socket.AF_UNIX) as left_behind:
                left_behind.bind(str(directory / "history"))
        assert claim(str(directory)) == directory and (directory / ".voicetap").exists()
    assert claim(str(tmp_path / "new")).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("names", [["thesis.odt"], ["vad.lock", "photo.tmp.jpg"], ["log"], [".bashrc", "log"]])
def test_a_directory_of_others_is_refused_and_not_changed(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsError, match="holds files of others, such as .*: set it to an empty directory"):
        claim(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_directory_goes_with_its_last_file(tmp_path):
    path = claim(str(tmp_path / "run"))
    (path / "kept").touch()
    remove_if_empty(path)
    assert {each.name for each in path.iterdir()} == {"kept", ".voicetap"}
    (path / "kept").unlink()
    remove_if_empty(path)
    assert not path.exists()
    remove_if_empty(path)
