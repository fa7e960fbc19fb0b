"""Watchdog and systemd: what is notified when."""

import os
import socket
import time
from pathlib import Path

import pytest

from rig.processes import eventually
from voicetap.service.node import Node
from voicetap_watchdog import watchdog
from voicetap_watchdog.liveness import HeartbeatReceived, LivenessMonitor
from voicetap_watchdog.supervisord_rpc import SupervisedProcess
from voicetap_watchdog.watchdog import Watchdog, sd_notify
from voicetap_watchdog.watchdog_file import WatchdogFileReader


class FakeSupervisord:
    """Lists one process."""

    def __init__(self, process: SupervisedProcess):
        self._process = process

    def processes(self) -> tuple[SupervisedProcess, ...]:
        return (self._process,)


def test_a_notification_is_one_datagram(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        sd_notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_without_systemd_a_notification_does_nothing(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    sd_notify("WATCHDOG=1")


def test_systemd_gets_no_notification_while_a_program_cannot_be_restarted(settings, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(watchdog, "sd_notify", sent.append)
    monkeypatch.setattr(watchdog, "POLL_S", 0.0)
    monitor = LivenessMonitor(heartbeat_timeout_s=60, startup_timeout_s=60, give_up_s=0.3)
    vad = SupervisedProcess("vad", "vad", "RUNNING", os.getpid(), 0)
    reader = WatchdogFileReader(Path(settings.runtime_dir, "watchdog.pulse"), 1, 1)
    with Node("watchdog", settings) as node, Watchdog(node, FakeSupervisord(vad), monitor) as here:
        here.poll(set())
        monitor.step(HeartbeatReceived("vad", vad.pid, "ready", 0.0), time.monotonic())
        here.notify_systemd()
        assert sent == ["READY=1", "WATCHDOG=1"]
        assert not reader.is_unhealthy
        eventually(lambda: monitor.lost(time.monotonic()), 5, "vad is lost")
        here.notify_systemd()
        assert sent == ["READY=1", "WATCHDOG=1"]
        here.write_file()
        reader.is_stale(0.0)
        assert reader.is_unhealthy
