"""The watchdog's file and its process, as `supervise` monitors them."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from voicetap_watchdog.watchdog_file import ExitMonitor, WatchdogFileReader, WatchdogFileWriter


def test_a_file_that_does_not_change_is_stale_after_the_timeout(tmp_path: Path):
    reader = WatchdogFileReader(tmp_path / "p", heartbeat_timeout_s=2, startup_timeout_s=20)
    reader.reset(100)
    reads = [reader.is_stale(half / 2) for half in range(200, 243)]
    assert reads == [False] * 41 + [True] * 2, "after its startup timeout"
    (tmp_path / "p").write_text("1")
    assert [reader.is_stale(half / 2) for half in range(243, 249)] == [False] * 5 + [True]


def test_a_reader_that_was_late_allows_the_watchdog_another_timeout(tmp_path: Path):
    reader = WatchdogFileReader(tmp_path / "p", heartbeat_timeout_s=2, startup_timeout_s=20)
    (tmp_path / "p").write_text("1")
    assert not reader.is_stale(100)
    (tmp_path / "p").write_text("2")
    assert not reader.is_stale(500)
    assert not reader.is_stale(600), "both were stopped, and the reader continued first"


def test_the_file_contains_whether_every_program_can_be_restarted(tmp_path: Path):
    reader = WatchdogFileReader(tmp_path / "p", heartbeat_timeout_s=2, startup_timeout_s=20)
    with WatchdogFileWriter(tmp_path / "p") as writer:
        for is_healthy in (True, False, True):
            writer.write(is_healthy)
            assert not reader.is_stale(0.0) and reader.is_unhealthy != is_healthy
            assert (tmp_path / "p").read_text().split()[0] == str(os.getpid())


def test_an_exit_is_detected_at_once_and_reported_once():
    monitor = ExitMonitor()
    assert monitor.fds == [] and not monitor.has_exited()
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        monitor.follow(process.pid)
        [fd] = monitor.fds
        monitor.follow(process.pid)
        assert monitor.fds == [fd] and not monitor.has_exited()
        process.kill()
        assert select.select(monitor.fds, [], [], 5)[0] == [fd]
        assert monitor.has_exited() and not monitor.has_exited() and monitor.fds == []
        process.communicate()
    monitor.follow(process.pid)
    assert monitor.fds == [], "of a process that has been reaped"


def test_a_signal_reaches_the_process_and_never_its_successor():
    monitor = ExitMonitor()
    monitor.send(signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"]) as process:
        monitor.follow(process.pid)
        monitor.send(signal.SIGABRT)
        assert process.wait(5) == -signal.SIGABRT
        monitor.send(signal.SIGKILL)
        assert monitor.has_exited()
