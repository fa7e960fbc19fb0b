"""The watchdog's edges: supervisord's events, its RPC when it hangs, systemd, the pulse, and health's verdict."""

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig.processes import eventually
from voicetap.messages import Heartbeat, SourceState
from voicetap.service.node import Node
from voicetap_watchdog import health, notify, rpc
from voicetap_watchdog.judge import Beat, Judge
from voicetap_watchdog.listener import OK, READY, Listener
from voicetap_watchdog.pulse import Pulse, Victim
from voicetap_watchdog.rpc import Process, Supervisord, Unreachable
from voicetap_watchdog.watch import Watch

EVENT = b"ver:3.0 server:voicetap serial:1 pool:watchdog poolserial:1 eventname:TICK_5 len:10\nwhen:12345\n"[:-1]


@pytest.fixture
def pipes():
    fds = [*os.pipe(), *os.pipe()]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def test_events_are_answered_however_they_are_cut(pipes):
    events_fd, supervisord_fd, answers_fd, out_fd = pipes
    with Listener(events_fd, out_fd) as listener:
        assert os.read(answers_fd, 100) == READY
        os.write(supervisord_fd, EVENT[:30])
        assert listener.read() == 0
        os.write(supervisord_fd, EVENT[30:] + EVENT)
        assert listener.read() == 2
        assert os.read(answers_fd, 100) == (OK + READY) * 2


def test_the_end_of_supervisord_is_noticed(pipes):
    events_fd, supervisord_fd, _, out_fd = pipes
    with Listener(events_fd, out_fd) as listener:
        os.close(supervisord_fd)
        with pytest.raises(EOFError):
            listener.read()


def test_a_frozen_supervisord_does_not_freeze_its_watchers(tmp_path, monkeypatch):
    monkeypatch.setattr(rpc, "TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()
        with pytest.raises(Unreachable):
            Supervisord(str(tmp_path / "s")).processes()


def test_no_supervisord_is_unreachable(tmp_path):
    with pytest.raises(Unreachable):
        Supervisord(str(tmp_path / "none")).poke()


def test_systemd_is_told(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.send("READY=1")
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_without_systemd_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.send("WATCHDOG=1")


def test_a_pulse_that_stands_still_has_stopped(tmp_path: Path):
    pulse = Pulse(tmp_path / "p", heartbeat_timeout_s=2, startup_timeout_s=20)
    pulse.rearm(100)
    looks = [pulse.has_stopped(half / 2) for half in range(200, 243)]
    assert looks == [False] * 41 + [True] * 2, "after its grace"
    (tmp_path / "p").write_text("1")
    assert [pulse.has_stopped(half / 2) for half in range(243, 249)] == [False] * 5 + [True]


def test_a_reader_of_the_pulse_that_was_late_condemns_nobody(tmp_path: Path):
    pulse = Pulse(tmp_path / "p", heartbeat_timeout_s=2, startup_timeout_s=20)
    (tmp_path / "p").write_text("1")
    assert not pulse.has_stopped(100)
    (tmp_path / "p").write_text("2")
    assert not pulse.has_stopped(500)
    assert not pulse.has_stopped(600), "both were stopped, and the reader looks first"


def test_a_death_is_noticed_at_once_and_said_once():
    victim = Victim()
    assert victim.fds == [] and not victim.is_dead()
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        victim.follow(process.pid)
        [fd] = victim.fds
        victim.follow(process.pid)
        assert victim.fds == [fd] and not victim.is_dead()
        process.kill()
        assert select.select(victim.fds, [], [], 5)[0] == [fd]
        assert victim.is_dead() and not victim.is_dead() and victim.fds == []
        process.communicate()
    victim.follow(process.pid)
    assert victim.fds == [], "of a process that is gone"


def beat(position_s: float = 0.0, source: str = "live", state: str = "ready", boot_id: str = "a") -> Heartbeat:
    sources = (SourceState(source="mic", stream="1", state=source, position_s=position_s),)
    return Heartbeat(service="capture", name="capture-1", pid=1, boot_id=boot_id, seq=1, state=state, sources=sources)


@pytest.mark.parametrize(
    ("beats", "problem"),
    [
        ([beat(1.0), beat(1.5)], ""),
        ([beat(1.0, "ended"), beat(1.0, "ended")], ""),
        ([beat(1.0), beat(1.0)], "does not move"),
        ([beat(1.0, "lost"), beat(1.0, "lost")], "mic is lost"),
        ([beat(1.0, state="starting"), beat(1.5, state="starting")], "starting"),
        ([beat(1.0), beat(1.5, boot_id="b")], "heartbeats"),
        ([beat(1.0)], "1 heartbeats"),
        ([], "0 heartbeats"),
    ],
)
def test_health_is_fresh_beats_and_sound_that_moves(beats, problem):
    found = health.problem_of("capture-1", beats)
    assert problem in found and bool(found) == bool(problem)


def test_systemd_hears_no_more_when_a_program_cannot_be_brought_back(settings, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(notify, "send", sent.append)
    monkeypatch.setattr("voicetap_watchdog.watch.LOOK_S", 0.0)
    judge = Judge(heartbeat_timeout_s=60, startup_timeout_s=60, give_up_s=0.3)
    vad = Process("vad", "vad", "RUNNING", os.getpid(), 0)
    with Node("watchdog", settings) as node, Watch(node, Played(vad), judge) as watch:
        watch.look(set())
        judge.step(Beat("vad", vad.pid, "ready", 0.0), time.monotonic())
        watch.tell_systemd()
        assert sent == ["READY=1", "WATCHDOG=1"]
        assert Pulse(Path(settings.runtime_dir, "watchdog.pulse"), 1, 1).is_unwell is False
        eventually(lambda: judge.lost(time.monotonic()), 5, "its loss")
        watch.tell_systemd()
        assert sent == ["READY=1", "WATCHDOG=1"]
        watch.show_pulse()
        pulse = Pulse(Path(settings.runtime_dir, "watchdog.pulse"), 1, 1)
        pulse.has_stopped(0.0)
        assert pulse.is_unwell


class Played:
    """A supervisord with this program."""

    def __init__(self, process: Process):
        self._process = process

    def processes(self) -> tuple[Process, ...]:
        return (self._process,)
