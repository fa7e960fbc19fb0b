"""Node as a real process: its beats, its signals, its lock, its three deaths and its clean end."""

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rig.processes import environment, eventually
from voicetap import links
from voicetap.bus import Bus
from voicetap.errors import AddressInUse, Unavailable
from voicetap.messages import Heartbeat, SourceState
from voicetap.service.node import HEARTBEAT_PERIOD_S, Node
from voicetap.settings import Settings

SERVICE = """
import os, re, signal, sys, time
from voicetap.errors import ConfigError, Unavailable
from voicetap.service import node
from voicetap.service.node import Node
node.LOCK_TIMEOUT_S = 0.3

def main(settings):
    with Node("vad", settings, number=2) as here:
        here.state = "ready"
        print("up", flush=True)
        while here.alive():
            here.wait(1.0)
            {work}
        {drain}

node.run("vad", main)
"""


@pytest.fixture
def service(runtime_dir: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`service(work="...")`: a process whose loop does that; returned when it is up."""
    with_pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started: list[subprocess.Popen] = []

    def start(work: str = "pass", drain: str = "pass", up: bool = True, **settings: object) -> subprocess.Popen:
        command = [sys.executable, "-W", "error", "-c", SERVICE.format(work=work, drain=drain)]
        where = Path(runtime_dir, str(settings.pop("runtime_dir", "")))
        started.append(process := subprocess.Popen(command, env=environment(where, **settings), **with_pipes))
        if up:
            assert process.stdout.readline() == "up\n", process.communicate()[1]
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def output(process: subprocess.Popen) -> str:
    return process.communicate(timeout=5)[1]


def test_beats_come_from_the_loop_with_increasing_seq(service, settings):
    with Bus("app", settings) as bus:
        heard: list[Heartbeat] = []
        beats = bus.receiver(links.HEARTBEAT.of("vad-2"))
        process = service()
        eventually(lambda: heard.extend(beats) or len(heard) >= 3, 5, "three beats")
    seqs = [beat.seq for beat in heard]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    last = heard[-1]
    assert (last.service, last.name, last.pid, last.state) == ("vad", "vad-2", process.pid, "ready")
    assert last.cpu_s > 0 and last.rss_bytes > 1 << 20 and len({beat.boot_id for beat in heard}) == 1


def test_sigterm_and_ctrl_c_end_the_loop_at_once_and_leave_nothing(service, runtime_dir):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = service(drain="print('drained', flush=True)")
        sent_s = time.monotonic()
        process.send_signal(number)
        assert process.stdout.readline() == "drained\n"
        assert time.monotonic() - sent_s < HEARTBEAT_PERIOD_S / 2, "the signal ends the poll it arrives in"
        assert process.wait(5) == 0 and output(process) == ""
        assert list(runtime_dir.iterdir()) == []


def test_a_second_signal_ends_a_drain_that_hangs(service):
    process = service(drain="print('draining', flush=True); re.match('(a|aa)+$', 'a' * 200 + 'b')")
    process.terminate()
    assert process.stdout.readline() == "draining\n"
    process.terminate()
    assert process.wait(2) == -signal.SIGTERM


def test_a_second_instance_names_the_first_and_leaves_it_alone(service, runtime_dir):
    first = service()
    files = sorted(runtime_dir.iterdir())
    second = service(up=False)
    assert second.wait(5) == 75
    assert f"vad-2 runs already, as process {first.pid}" in (text := output(second)) and "Traceback" not in text
    assert sorted(runtime_dir.iterdir()) == files
    first.terminate()
    assert first.wait(5) == 0


def test_what_a_killed_instance_left_is_taken_over(service, runtime_dir):
    first = service()
    first.kill()
    first.wait()
    assert {path.name for path in runtime_dir.iterdir()} == {"vad-2.lock", "heartbeat-vad-2"}
    second = service()
    second.terminate()
    assert second.wait(5) == 0 and list(runtime_dir.iterdir()) == []


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(60)  # the line", "re.match('(a|aa)+$', 'a' * 200 + 'b')  # the line"],
    ids=["asleep", "holding the GIL"],
)
def test_a_hung_loop_ends_itself_and_says_where(service, hang):
    process = service(work=hang, loop_timeout_s=0.5)
    assert process.wait(5) == 1
    line = 1 + next(n for n, text in enumerate(SERVICE.split("\n")) if "{work}" in text)
    assert "Timeout" in (text := output(process)) and f'File "<string>", line {line} in main' in text


def test_a_slow_turn_is_no_hang(service):
    process = service(work="time.sleep(0.4); print('turn', flush=True)", loop_timeout_s=0.8)
    assert [process.stdout.readline() for _ in range(2)] == ["turn\n"] * 2
    process.terminate()
    assert process.wait(5) == 0


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"vad_treshold": "1"}, "did you mean VOICETAP_VAD_THRESHOLD?"),
        ({"runtime_dir": "/dev/null/x"}, "runtime_dir /dev/null/x"),
        ({"runtime_dir": "x" * 100}, "choose a shorter runtime_dir"),
        ({"addresses": "heartbeat-vad-2=tcp://0.0.0.0:5700"}, "set curve_dir"),
        ({"curve_dir": "/nowhere"}, "curve_dir /nowhere"),
    ],
)
def test_what_a_user_got_wrong_is_one_line_and_ex_config(service, settings, complaint):
    process = service(up=False, **settings)
    assert process.wait(5) == 78
    assert complaint in (text := output(process)) and text.count("\n") == 1


def test_a_config_error_is_one_line_too(service):
    process = service(work="raise ConfigError('no such model: tiny.xy')")
    assert process.wait(5) == 78 and output(process).count("\n") == 1


def test_a_crash_is_a_crash_and_still_leaves_nothing(service, runtime_dir):
    process = service(work="1 / 0")
    assert process.wait(5) == 1 and "ZeroDivisionError" in output(process)
    assert list(runtime_dir.iterdir()) == []


# ---- in this process -----------------------------------------------------------------------------


def open_things() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_a_hundred_lives_in_one_process_leak_nothing(settings: Settings, runtime_dir: Path):
    def live() -> None:
        with Node("journal", settings) as node:
            node.receiver(links.RESULTS)
            node.sender(links.TRANSCRIPT)
            assert node.alive()
            node.wait(0)

    live()
    before = open_things()
    native = psutil.Process().num_threads()
    handler = signal.getsignal(signal.SIGTERM)
    for _ in range(100):
        live()
    assert open_things() == before and psutil.Process().num_threads() == native
    assert signal.getsignal(signal.SIGTERM) is handler and list(runtime_dir.iterdir()) == []


def test_a_start_that_fails_halfway_leaves_nothing(settings: Settings, runtime_dir: Path):
    before = open_things()
    (runtime_dir / "heartbeat-vad").mkdir()  # cannot be bound
    with pytest.raises(AddressInUse, match="heartbeat-vad cannot be bound"):
        Node("vad", settings).__enter__()
    (runtime_dir / "heartbeat-vad").rmdir()
    assert open_things() == before and list(runtime_dir.iterdir()) == []


def test_the_beat_carries_what_the_service_says(settings: Settings):
    with Bus("app", settings) as app, Node("vad", settings) as node:
        heard = app.receiver(links.HEARTBEAT.of("vad"))
        node.sources = (SourceState(source="mic", stream="a", state="live", gaps=2),)
        node.state, node.detail, node.queue_depth, node.deadline_ns, node.drops = "busy", "word", 3, 99, 5
        eventually(lambda: node.beat_now() or heard.socket.poll(10), 5, "a beat")
        beat = next(iter(heard))
        assert (beat.state, beat.detail, beat.queue_depth, beat.deadline_ns, beat.drops) == ("busy", "word", 3, 99, 5)
        assert beat.sources == node.sources
        node.stopping = True
        node.beat_now()
        eventually(lambda: any(beat.state == "draining" for beat in heard), 5, "draining")


def test_refused_and_dropped_messages_are_in_the_beat_even_after_their_socket_is_closed(settings: Settings):
    with Node("journal", settings) as node, Bus("vad", settings) as vad:
        results = node.receiver(links.RESULTS)
        vad.sender(links.RESULTS)._socket.send(b"rubbish")
        eventually(lambda: list(results) or results.rejected, 5, "a refusal")
        assert node._heartbeat().drops == 1
        node.close(results)
        assert node._heartbeat().drops == 1


def test_wait_returns_what_is_watched_and_never_the_wake_up(settings: Settings):
    ours, theirs = socket.socketpair()
    with ours, theirs, Node("vad", settings) as node:
        node.watch(ours.fileno())
        node.beat()
        assert node.wait(0) == set()
        theirs.send(b"x")
        assert node.wait(0.4) == {ours.fileno()}
        ours.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)
        node.beat()
        assert node.wait(0.4) == set() and node.stopping and not node.alive()


def test_nothing_is_armed_when_a_node_is_gone(settings: Settings, monkeypatch):
    calls: list[str] = []
    cancel = faulthandler.cancel_dump_traceback_later
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: calls.append("cancelled") or cancel())
    with Node("vad", settings) as node:
        node.beat()
    assert calls == ["cancelled"] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("removed", ["vad.lock", "heartbeat-vad"])
def test_without_its_files_a_service_begins_anew_and_leaves_those_of_others(
    settings: Settings, runtime_dir: Path, monkeypatch, removed: str
):
    monkeypatch.setattr("voicetap.service.node.REMOVED_TIMEOUT_S", 0.5)
    with pytest.raises(Unavailable, match=f"{removed} was removed"), Node("vad", settings) as node:
        assert node.alive()
        (runtime_dir / removed).unlink()
        (runtime_dir / removed).write_text("somebody else's")
        eventually(lambda: not node.alive(), 5, "its end")
    assert [path.name for path in runtime_dir.iterdir()] == [removed]


def test_a_service_that_is_stopping_needs_its_files_no_more(settings: Settings, runtime_dir: Path, monkeypatch):
    monkeypatch.setattr("voicetap.service.node.REMOVED_TIMEOUT_S", 0.0)
    with Node("vad", settings) as node:
        node.stopping = True
        (runtime_dir / "vad.lock").unlink()
        for _ in range(3):
            node.beat_now()
