"""`voicetap status`: when the heartbeat counts, and when supervisord's state does."""

import time
from dataclasses import replace

import pytest

from voicetap.messages import Heartbeat, SourceState
from voicetap_bundle import status_report
from voicetap_bundle.cli import status
from voicetap_bundle.heartbeat_monitor import FRESH_S, ReceivedHeartbeat
from voicetap_watchdog.supervisord_rpc import SupervisedProcess


class FakeHeartbeatMonitor:
    """Has one heartbeat of vad, `age_s` old; none where `pid` is 0."""

    programs = ("vad",)

    def __init__(self, pid: int, state: str, age_s: float = 0.1):
        heartbeat = Heartbeat(service="vad", name="vad", pid=pid, boot_id="b", seq=1, state=state, rss_bytes=9)
        self.latest = {"vad": ReceivedHeartbeat(heartbeat, time.monotonic() - age_s, 5.0)} if pid else {}

    def fresh(self, name: str) -> None:
        return None


class FakeProgramControl:
    def __init__(self, programs: dict[str, SupervisedProcess]):
        self._programs = programs

    def processes(self) -> dict[str, SupervisedProcess]:
        return self._programs

    def last_exit(self, program: str) -> str:
        return "terminated by SIGKILL"

    def last_log_line(self, program: str) -> str:
        return "ERROR no such model"


def program(pid: int, state: str) -> dict[str, SupervisedProcess]:
    return {"vad": SupervisedProcess("vad", "vad", state, pid, 0)}


@pytest.mark.parametrize(
    ("heartbeat", "programs", "pid", "state"),
    [
        ((7, "ready"), program(7, "RUNNING"), 7, "ready"),
        ((7, "ready"), program(8, "RUNNING"), 8, "starting"),
        ((7, "ready"), program(0, "BACKOFF"), 0, "backoff"),
        ((7, "ready", FRESH_S + 1), program(7, "RUNNING"), 7, "silent"),
        ((7, "ready", FRESH_S + 1), program(7, "STOPPING"), 7, "stopping"),
        ((0, ""), program(8, "RUNNING"), 8, "starting"),
        ((7, "ready"), {}, 7, "ready"),
    ],
)
def test_a_state_is_that_of_the_process_whose_pid_is_shown(heartbeat, programs, pid, state, tmp_path):
    control = FakeProgramControl(programs)
    [service] = status_report.build(FakeHeartbeatMonitor(*heartbeat), control, str(tmp_path))["services"]
    assert (service["pid"], service["state"]) == (pid, state)
    assert (service["rss_bytes"] == 9) == (pid == 7)


@pytest.mark.parametrize(
    ("name", "file"),
    [("capture-1", "voicetap-capture-1.starts"), ("watchdog", "voicetap-watchdog-watchdog.starts")],
)
def test_restarts_are_the_starts_after_the_first(name, file, tmp_path):
    (tmp_path / file).write_text("[13, 1.0, 2.0, 3.0]")
    heartbeats = FakeHeartbeatMonitor(0, "")
    heartbeats.programs = (name,)
    programs = {name: SupervisedProcess(name, name, "RUNNING", 8, 0)}
    report = status_report.build(heartbeats, FakeProgramControl(programs), str(tmp_path))
    assert report["services"][0]["restarts"] == 12


def test_a_program_that_does_not_run_shows_how_it_ended_and_its_last_log_line(tmp_path):
    control = FakeProgramControl(program(0, "BACKOFF"))
    [service] = status_report.build(FakeHeartbeatMonitor(0, ""), control, str(tmp_path))["services"]
    assert service["detail"] == "terminated by SIGKILL: ERROR no such model"


class OneSource(FakeHeartbeatMonitor):
    """vad's heartbeat is fresh, and has one source."""

    def __init__(self, **levels: float):
        super().__init__(7, "ready")
        source = SourceState(source="mic", stream="a1", state="live", **levels)
        self._message = replace(self.latest["vad"].message, sources=(source,))

    def fresh(self, name: str) -> Heartbeat:
        return self._message


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ({}, "-"),
        ({"level_dbfs": -31.4, "noise_dbfs": -62.1}, "-31 dBFS (noise -62)"),
        ({"level_dbfs": -3.0, "noise_dbfs": -62.0, "clipping": 0.021}, "-3 dBFS (noise -62, 2.1% clipped)"),
    ],
)
def test_the_level_of_a_source_is_shown(levels, text, tmp_path):
    report = status_report.build(OneSource(**levels), FakeProgramControl(program(7, "RUNNING")), str(tmp_path))
    assert status._level(report["sources"][0]) == text
