"""SupervisordClient without a working supervisord, and what the kernel reports about a process."""

import os
import socket
import subprocess

import pytest

from voicetap_watchdog import supervisord_rpc
from voicetap_watchdog.supervisord_rpc import UNREACHABLE, SupervisedProcess, SupervisordClient


def process(pid: int = 0, state: str = "RUNNING", exit_status: int = 0) -> SupervisedProcess:
    return SupervisedProcess("vad", "vad", state, pid, exit_status)


def test_a_frozen_supervisord_does_not_block_its_clients(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisord_rpc, "TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "s"))
        frozen.listen()
        with pytest.raises(UNREACHABLE):
            SupervisordClient(str(tmp_path / "s")).processes()


def test_without_supervisord_a_call_fails(tmp_path):
    with pytest.raises(UNREACHABLE):
        SupervisordClient(str(tmp_path / "none")).wake()


def test_a_process_is_alive_until_it_is_a_zombie():
    with subprocess.Popen(["sleep", "60"]) as child:
        assert process(child.pid).is_alive() and 0 <= process(child.pid).age_s() < 10
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process(child.pid).is_alive()
    assert not process(child.pid).is_alive() and process(child.pid).age_s() == 0.0
    assert not process(0).is_alive()


@pytest.mark.parametrize(
    ("state", "exit_status", "expected"),
    [("EXITED", 78, True), ("FATAL", 78, True), ("EXITED", 1, False), ("RUNNING", 78, False)],
)
def test_a_program_that_exited_with_ex_config_is_misconfigured(state, exit_status, expected):
    assert process(state=state, exit_status=exit_status).is_misconfigured == expected
