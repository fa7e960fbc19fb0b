"""Which source the sound server records from: its answers, and none."""

import json
import os

import pytest

from rig.processes import eventually
from voicetap_capture.sources.pulse_monitor import INTERVAL_S, PulseMonitor, source_of

LISTED = {
    "sources": [{"index": 3, "name": "usb"}, {"index": 4, "name": "webcam"}],
    "source_outputs": [
        {"source": 3, "properties": {"application.process.id": "77"}},
        {"source": 4, "properties": {"application.process.id": "78"}},
        {"source": 4, "properties": {"application.process.id": "79"}},
        {"source": 3, "properties": {"application.process.id": "79"}},
        {"source": 9, "properties": {"application.process.id": "80"}},
    ],
}


@pytest.mark.parametrize(("pid", "source"), [(77, "usb"), (78, "webcam"), (79, ""), (80, ""), (81, "")])
def test_the_source_is_the_one_that_this_process_records(pid, source):
    assert source_of(pid, json.dumps(LISTED).encode()) == source


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"sources": 1, "source_outputs": 2}', b"\xff"])
def test_an_unusable_answer_yields_no_source(answer):
    assert source_of(77, answer) == ""


@pytest.fixture
def pactl(tmp_path, monkeypatch):
    """`pactl(script)` is what answers for the sound server."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(script: str) -> None:
        (tmp_path / "pactl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "pactl").chmod(0o755)

    return install


def listed(source: str) -> str:
    answer = {
        "sources": [{"index": 1, "name": source}],
        "source_outputs": [{"source": 1, "properties": {"application.process.id": str(os.getpid())}}],
    }
    return f"echo '{json.dumps(answer)}'"


@pytest.fixture
def monitor():
    monitor = PulseMonitor({"PULSE_SERVER": "unix:/somewhere"})
    yield monitor
    monitor.close()


def test_a_move_is_reported_until_it_is_undone(pactl, monitor):
    now_s = 0.0
    for source, moved_to in (("usb", ""), ("webcam", "webcam"), ("webcam", "webcam"), ("usb", "")):
        pactl(listed(source))
        now_s += INTERVAL_S
        monitor.poll(now_s)
        eventually(lambda at_s=now_s, it=moved_to: monitor.poll(at_s) == it and monitor._query is None, 5, moved_to)


def test_no_query_starts_before_it_is_due(pactl, monitor, tmp_path):
    pactl(f"echo asked >> {tmp_path}/log")
    monitor.poll(0.0)
    eventually(lambda: monitor.poll(INTERVAL_S - 0.1) == "" and monitor._query is None, 5, "the answer")
    assert monitor.poll(INTERVAL_S - 0.1) == "" and (tmp_path / "log").read_text() == "asked\n"


def test_a_query_without_an_answer_is_not_repeated_and_ends_with_the_monitor(pactl, monitor, tmp_path):
    pactl(f"echo $$ >> {tmp_path}/log; exec sleep 60")
    assert [monitor.poll(now_s) for now_s in (0.0, 2 * INTERVAL_S, 4 * INTERVAL_S)] == [""] * 3
    pid = int(eventually(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text(), 5, "a question"))
    monitor.close()
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 5, "its end")


def test_without_pactl_or_a_sound_server_there_is_no_query(tmp_path, monkeypatch, pactl):
    pactl("exit 1")
    nowhere = PulseMonitor({"XDG_RUNTIME_DIR": str(tmp_path)})
    monkeypatch.setenv("PATH", "/nowhere")
    for monitor in (nowhere, PulseMonitor({"PULSE_SERVER": "unix:/somewhere"})):
        assert monitor.poll(0.0) == "" and monitor._query is None
