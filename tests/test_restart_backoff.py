"""Restart back-off: the delay before a start, and the file with the start times."""

import configparser
import os
import re
import time
from pathlib import Path

import pytest

from voicetap.service import restart_backoff
from voicetap.service.restart_backoff import MAX_WAIT_S, starts_file, wait_s

PROGRAMS = sorted((Path(__file__).parent.parent / "deploy/programs").glob("*.conf"))


@pytest.mark.parametrize(
    "ago_s, expected_s",
    [
        ([], 0),
        ([1], 0),
        ([2, 1], 0),
        ([3, 2, 1], 0.1),
        ([4, 3, 2, 1], 0.2),
        ([5, 4, 3, 2, 1], 0.4),
        (range(10, 0, -1), MAX_WAIT_S),
        (range(300, 0, -1), MAX_WAIT_S),
        ([100, 90, 80, 2, 1], 0),
        ([-5, -6, -7, -8], 0),  # a clock of before the reboot
    ],
)
def test_the_delay_doubles_and_ends_with_the_window(ago_s, expected_s):
    assert wait_s([1000.0 - ago for ago in ago_s], 1000.0) == pytest.approx(expected_s)


def test_a_program_that_always_crashes_is_restarted_forever_but_rarely():
    starts: list[float] = []
    now_s = 0.0
    for _ in range(200):
        wait = wait_s(starts[-10:], now_s)
        starts.append(now_s)
        now_s += wait + 0.05
    late = [later - earlier for earlier, later in zip(starts[100:], starts[101:], strict=False)]
    assert max(late) < MAX_WAIT_S + 0.1 and sum(late) / len(late) > 2


def test_starts_are_recorded_per_program_whatever_is_in_the_file(runtime_dir, monkeypatch):
    slept: list[float] = []
    monkeypatch.setenv("VOICETAP_RUNTIME_DIR", str(runtime_dir))
    monkeypatch.setattr(time, "sleep", slept.append)
    for _ in range(5):
        restart_backoff.wait_if_crashing("voicetap_capture --source mic")
    assert slept == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]
    [path] = runtime_dir.iterdir()
    assert path.name == "voicetap-capture-source-mic.starts"
    for torn in ("[1.0, 2", "{}", "null", "[null]", '["x"]'):
        path.write_text(torn)
        restart_backoff.wait_if_crashing("voicetap_capture --source mic")
        assert slept[-1] == 0
    path.write_bytes(b"\xff\xfe")
    restart_backoff.wait_if_crashing("voicetap_capture --source mic")


def test_the_service_itself_reports_a_wrong_setting(monkeypatch, runtime_dir):
    monkeypatch.setenv("VOICETAP_VAD_TRESHOLD", "1")
    restart_backoff.wait_if_crashing("voicetap_vad")
    monkeypatch.delenv("VOICETAP_VAD_TRESHOLD")
    monkeypatch.setenv("VOICETAP_RUNTIME_DIR", str(runtime_dir / "none"))
    restart_backoff.wait_if_crashing("voicetap_vad")
    assert os.listdir(runtime_dir) == []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_file_of_a_program_is_that_of_its_command(path, runtime_dir, monkeypatch):
    """By the name that supervisord gives its process; the watchdog's is that in its own argument."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(path)
    [section] = parser.sections()
    values = {"process_num": "1", "ENV_VOICETAP_WATCHDOG": "watchdog-vad"}
    command, name = (
        re.sub(r"%\((\w+)\)[ds]", lambda match: values.get(match[1], ""), text)
        for text in (parser[section]["command"], parser[section].get("process_name", path.stem))
    )
    monkeypatch.setenv("VOICETAP_RUNTIME_DIR", str(runtime_dir))
    restart_backoff.wait_if_crashing(command.partition("voicetap.service.launch ")[2])
    assert os.listdir(runtime_dir) == [starts_file("watchdog-vad" if name == "watchdog" else name)]
    assert len(restart_backoff.starts_of(runtime_dir, "watchdog-vad" if name == "watchdog" else name)) == 1
