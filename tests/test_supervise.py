"""supervise with real processes: they start, fail, restart, and stop without a trace."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rig import processes
from rig.processes import eventually
from voicetap import config, links
from voicetap.bus import Bus
from voicetap.messages import Heartbeat
from voicetap.service.locks import Lock
from voicetap.settings import Settings

SUPERVISE = "voicetap_watchdog.supervise"


class LastHeartbeats:
    """The last heartbeat of each program."""

    def __init__(self, bus: Bus, *names: str):
        self._receivers = [bus.receiver(links.HEARTBEAT.of(name)) for name in names]
        self._last: dict[str, Heartbeat] = {}

    def of(self, name: str) -> Heartbeat | None:
        for receiver in self._receivers:
            self._last.update({beat.name: beat for beat in receiver})
        return self._last.get(name)

    def wait(self, name: str, other_than: int = 0, within_s: float = 12) -> int:
        """The pid of a program that beats."""
        found = eventually(
            lambda: (beat := self.of(name)) and beat.pid != other_than and beat, within_s, f"a beat of {name}"
        )
        return found.pid


@pytest.fixture
def bus(settings: Settings):
    with Bus("app", settings) as bus:
        yield bus


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, str]:
    """Settings that need no microphone and no model: a minute of silence."""
    silence = tmp_path / "silence.raw"
    silence.write_bytes(bytes(60 * 16_000 * 2))
    return {"transcribe_engine": "pocketsphinx", "sources": f"raw:{silence}"}


@pytest.fixture
def stop() -> Callable[[subprocess.Popen], None]:
    def send(supervise: subprocess.Popen) -> None:
        supervise.terminate()
        assert supervise.wait(timeout=8) == 0

    return send


def health(runtime_dir: Path, *programs: str, **settings: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "voicetap_watchdog.health", *programs],
        env=processes.environment(runtime_dir, **settings),
        capture_output=True,
        text=True,
    )


def supervisord_of(supervise: subprocess.Popen) -> psutil.Process:
    return eventually(lambda: psutil.Process(supervise.pid).children(), 5, "supervisord")[0]


def test_a_bundle_starts_and_stops_without_a_trace(spawn, stop, runtime_dir, bus, quick):
    names = ("capture-1", "vad", "transcribe-1", "journal", "watchdog")
    beats = LastHeartbeats(bus, *names)
    bundle = spawn(SUPERVISE, **quick)
    for name in names:
        beats.wait(name)
    assert (runtime_dir / "log" / "vad.log").exists()
    stop(bundle)
    assert processes.processes_of(runtime_dir) == []
    left = list(runtime_dir.iterdir()) if runtime_dir.exists() else []
    assert [path for path in left if path.name != ".cache"] == []  # it is $HOME in tests, and libraries have caches


def test_a_killed_and_a_frozen_program_are_restarted(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal", "watchdog-journal")
    bundle = spawn(SUPERVISE, "journal")
    beats.wait("watchdog-journal")
    first = beats.wait("journal")
    os.kill(first, signal.SIGKILL)
    second = beats.wait("journal", other_than=first)
    os.kill(second, signal.SIGSTOP)
    beats.wait("journal", other_than=second)
    stop(bundle)


@pytest.mark.parametrize("action", ["hang", "gil"])
@pytest.mark.parametrize("name", ["journal", "watchdog"])
def test_a_program_that_hangs_leaves_the_traceback_of_every_thread_and_is_restarted(
    spawn, stop, runtime_dir, bus, name, action
):
    program = "watchdog-journal" if name == "watchdog" else name
    beats = LastHeartbeats(bus, program)
    bundle = spawn(SUPERVISE, "journal", failpoints=f"{name}.beat:8:{action}")
    first = beats.wait(program)
    beats.wait(program, other_than=first)
    eventually(lambda: "Aborted" in processes.output_of(SUPERVISE, runtime_dir), 5, "its traceback")
    assert 'service/failpoint.py", line' in processes.output_of(SUPERVISE, runtime_dir)
    stop(bundle)


def test_a_frozen_watchdog_is_restarted(spawn, stop, bus):
    beats = LastHeartbeats(bus, "watchdog-journal")
    bundle = spawn(SUPERVISE, "journal", watchdog_heartbeat_timeout_s=1)
    first = beats.wait("watchdog-journal")
    os.kill(first, signal.SIGSTOP)
    beats.wait("watchdog-journal", other_than=first)
    stop(bundle)


def test_a_dead_supervisord_is_restarted_and_its_children_die_with_it(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    bundle = spawn(SUPERVISE, "journal")
    first = beats.wait("journal")
    supervisord_of(bundle).kill()
    beats.wait("journal", other_than=first)
    assert first not in [process.pid for process in processes.processes_of(runtime_dir)]
    stop(bundle)


def test_a_second_bundle_is_refused_and_names_the_first(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    bundle = spawn(SUPERVISE, "journal")
    beats.wait("journal")
    assert spawn(SUPERVISE, "journal").wait(timeout=5) == 75
    assert str(bundle.pid) in processes.output_of(SUPERVISE, runtime_dir)
    stop(bundle)


@pytest.mark.parametrize("wrong", [{"vad_treshold": 1}, {"sources": "drum"}])
def test_a_wrong_setting_is_one_line(spawn, runtime_dir, wrong):
    assert spawn(SUPERVISE, **wrong).wait(timeout=5) == 78
    assert len(processes.output_of(SUPERVISE, runtime_dir).splitlines()) == 1


def test_an_unknown_program_is_one_line(spawn, runtime_dir):
    assert spawn(SUPERVISE, "captur").wait(timeout=5) == 78
    assert "did you mean capture" in processes.output_of(SUPERVISE, runtime_dir)


def test_a_killed_bundle_leaves_no_process_and_the_next_one_removes_its_files(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    first = spawn(SUPERVISE, "journal")
    pid = beats.wait("journal")
    first.kill()
    first.wait()
    eventually(lambda: not processes.processes_of(runtime_dir), 3, "all to die with supervise")
    (runtime_dir / "supervisor-journal.sock.4242").touch()
    kept = runtime_dir / "foreign-file"
    kept.touch()
    second = spawn(SUPERVISE, "journal")
    beats.wait("journal", other_than=pid)
    stop(second)
    left = {path.name for path in runtime_dir.iterdir()}
    assert {name for name in left if not name.startswith("journal.sqlite")} == {kept.name, ".voicetap"}


def test_a_bundle_stops_with_its_parent(runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    code = (
        "import os, subprocess, sys;"
        f"subprocess.Popen([sys.executable, '-m', '{SUPERVISE}', '--with-parent', str(os.getpid()), 'journal']);"
        "sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=processes.environment(runtime_dir), stdin=subprocess.PIPE
    )
    with parent:
        beats.wait("journal")
        parent.kill()
    eventually(lambda: not processes.processes_of(runtime_dir), 6, "the bundle to stop")


def test_four_containers_share_one_runtime_directory(spawn, runtime_dir, bus, quick):
    names = ("capture-1", "vad", "transcribe-1", "journal")
    beats = LastHeartbeats(bus, *names)
    containers = [spawn(SUPERVISE, name.partition("-")[0], **quick) for name in names]
    for name in names:
        beats.wait(name)
    eventually(lambda: health(runtime_dir, "capture", **quick).returncode == 0, 10, "capture to be healthy")
    for container in containers:
        container.terminate()
    assert [container.wait(timeout=8) for container in containers] == [0] * 4
    assert not [path for path in runtime_dir.rglob("*") if path.is_socket() or path.suffix in (".lock", ".starts")]


def test_a_container_whose_program_cannot_be_restarted_exits(spawn, runtime_dir):
    foreign = Lock(runtime_dir, "journal")
    foreign.acquire(timeout_s=0)
    container = spawn(SUPERVISE, "journal", watchdog_give_up_s=2)
    assert container.wait(timeout=20) == 75
    assert "a program cannot be restarted" in processes.output_of(SUPERVISE, runtime_dir)
    foreign.release()


def test_a_program_that_restarts_too_often_is_reported_and_still_restarted(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal", "watchdog-journal")
    bundle = spawn(SUPERVISE, "journal")
    pid = beats.wait("journal")
    for _ in range(7):
        os.kill(pid, signal.SIGKILL)
        pid = beats.wait("journal", other_than=pid)
    degraded = eventually(lambda: (beat := beats.of("watchdog-journal")).state == "degraded" and beat, 5, "degraded")
    assert "journal restarted" in degraded.detail
    stop(bundle)


def test_a_removed_runtime_directory_is_created_again(spawn, stop, runtime_dir, bus, quick):
    beats = LastHeartbeats(bus, "vad")
    bundle = spawn(SUPERVISE, **quick)
    first = beats.wait("vad")
    shutil.rmtree(runtime_dir)
    beats.wait("vad", other_than=first, within_s=20)
    assert (runtime_dir / "log" / "vad.log").exists()
    output = processes.output_of(SUPERVISE, runtime_dir)
    assert output.count("\n") == 1 and "was removed: starting everything again" in output
    stop(bundle)
    assert processes.processes_of(runtime_dir) == []


def test_a_runtime_directory_that_cannot_be_created_again_ends_it(spawn, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    bundle = spawn(SUPERVISE, "journal")
    beats.wait("journal")
    shutil.rmtree(runtime_dir)
    runtime_dir.touch()  # another program has taken its name
    assert bundle.wait(timeout=10) == 78
    assert "File exists; set it to a directory of your own" in processes.output_of(SUPERVISE, runtime_dir)
    runtime_dir.unlink()


def test_a_supervisord_that_does_not_start_ends_it_with_the_reason(spawn, runtime_dir, tmp_path, monkeypatch):
    (tmp_path / "supervisor.py").write_text("raise RuntimeError('it is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert spawn(SUPERVISE, "journal").wait(timeout=20) == 75
    last = processes.output_of(SUPERVISE, runtime_dir).splitlines()[-1]
    assert "supervisord does not start: RuntimeError: it is broken" in last


def test_a_low_limit_of_open_files_suffices(stop, runtime_dir, bus, quick):
    names = ("capture-1", "vad", "transcribe-1", "journal", "watchdog")
    beats = LastHeartbeats(bus, *names)
    command = ["sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", sys.executable, "-m", SUPERVISE]
    with subprocess.Popen(command, env=processes.environment(runtime_dir, **quick)) as bundle:
        for name in names:
            beats.wait(name)
        assert psutil.Process(supervisord_of(bundle).pid).rlimit(psutil.RLIMIT_NOFILE) == (256, 256)
        stop(bundle)


@pytest.fixture
def special(runtime_dir: Path) -> Path:
    """A directory whose name is special to shells, ini files and glob patterns."""
    path = Path(f"{runtime_dir} 100% %s [x] 'y'")
    path.mkdir()
    yield path
    shutil.rmtree(path)


def test_paths_with_special_characters_work(stop, runtime_dir, special, quick):
    """Those of the runtime directory, of Python and of supervisord.conf."""
    root = Path(__file__).parents[1]
    for name in ("deploy", "services"):
        shutil.copytree(root / name, special / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (special / "python").symlink_to(sys.executable)
    runtime = special / "r%d"
    packages = f"{special / 'services/watchdog'}:{':'.join(path for path in sys.path if path)}"
    environ = processes.environment(runtime, **quick) | {"PYTHONPATH": packages}
    names = ("capture-1", "vad", "transcribe-1", "journal", "watchdog")
    with Bus("app", config.load({"VOICETAP_RUNTIME_DIR": str(runtime), "VOICETAP_CONFIG": os.devnull})) as bus:
        beats = LastHeartbeats(bus, *names)
        with subprocess.Popen([special / "python", "-m", SUPERVISE], env=environ) as bundle:
            for name in names:
                beats.wait(name)
            assert str(special) in supervisord_of(bundle).cmdline()[-1]
            assert (runtime / "log/vad.log").exists() and (runtime / "log/supervisord.log").exists()
            stop(bundle)


def test_health_reports_what_is_missing(runtime_dir):
    answer = health(runtime_dir, "vad")
    assert answer.returncode == 1
    assert "vad: 0 heartbeats" in answer.stdout and len(answer.stdout.splitlines()) == 1


def test_a_bundle_that_is_stopped_and_continued_keeps_running(spawn, stop, runtime_dir, bus):
    beats = LastHeartbeats(bus, "journal")
    bundle = spawn(SUPERVISE, "journal")
    first = beats.wait("journal")
    for _ in range(3):
        everything = processes.processes_of(runtime_dir)
        for process in everything:
            process.suspend()
        time.sleep(0.6)  # longer than any wait of supervise
        for process in everything:
            process.resume()
        time.sleep(0.1)
    seq = beats.of("journal").seq
    eventually(lambda: beats.of("journal").seq > seq + 2, 5, "more heartbeats")
    assert bundle.poll() is None and beats.of("journal").pid == first
    stop(bundle)


def test_a_bundle_whose_processes_were_all_frozen_for_long_restarts_none_of_them(spawn, stop, runtime_dir, bus, quick):
    names = ("capture-1", "vad", "transcribe-1", "journal", "watchdog")
    beats = LastHeartbeats(bus, *names)
    bundle = spawn(SUPERVISE, **quick, watchdog_heartbeat_timeout_s=1)
    first = {name: beats.wait(name) for name in names}
    time.sleep(3)  # every timer is armed
    everything = processes.processes_of(runtime_dir)
    for process in everything:
        process.suspend()
    time.sleep(8)  # longer than every timeout
    for process in everything:
        process.resume()
    time.sleep(3)
    assert {process.pid for process in processes.processes_of(runtime_dir)} == {process.pid for process in everything}
    assert {name: beats.wait(name) for name in names} == first
    stop(bundle)


@pytest.mark.parametrize("again", [False, True], ids=["once", "for ever"])
def test_a_bundle_with_a_frozen_supervisord_stops_in_time_and_without_a_trace(spawn, runtime_dir, bus, again):
    beats = LastHeartbeats(bus, "journal")
    bundle = spawn(SUPERVISE, "journal")
    beats.wait("journal")
    supervisord = supervisord_of(bundle)
    supervisord.suspend()
    bundle.terminate()
    stop_s = time.monotonic()
    while bundle.poll() is None and time.monotonic() - stop_s < 8:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisord.suspend() if again else None
        time.sleep(0.01)
    assert bundle.returncode == 0 and time.monotonic() - stop_s < 6
    assert {path.name for path in runtime_dir.iterdir()} <= {".voicetap", "journal.sqlite", "journal.sqlite-wal"}


def test_a_stop_with_a_journal_that_cannot_start_keeps_what_is_owed(spawn, runtime_dir, bus, quick):
    """vad neither spins meanwhile nor reports that frames it never read are drained."""
    beats = LastHeartbeats(bus, "vad", "capture-1")
    bundle = spawn(SUPERVISE, **quick, journal_data_dir="/proc/voicetap")
    beats.wait("capture-1")
    beats.wait("vad")
    time.sleep(1.5)
    before = beats.of("vad")
    time.sleep(2)
    assert beats.of("vad").cpu_s - before.cpu_s < 0.7
    assert "/proc/voicetap: No such file" in (runtime_dir / "log" / "journal.log").read_text()
    bundle.terminate()
    assert bundle.wait(timeout=8) == 0
    assert list(runtime_dir.glob("*.ring")) and list(runtime_dir.glob("cuts-*.sqlite"))
    assert "the next start resumes with them" in processes.output_of(SUPERVISE, runtime_dir)
