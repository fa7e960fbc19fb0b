"""The `voicetap` command without a bundle: its complaints about mistakes, and its JSON output."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rig import processes
from voicetap_bundle.cli import COMMANDS
from voicetap_bundle.cli.tap import rate_line


@pytest.fixture
def voicetap(runtime_dir: Path):
    """`voicetap("status", "--json", vad_threshold="0.4")`: the process after its end, with its output."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "voicetap_bundle", *arguments],
            env=processes.environment(runtime_dir, **settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


def test_help_shows_every_command(voicetap):
    shown = voicetap("--help")
    assert shown.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "exit_code", "complaint"),
    [
        (["up"], {"vad_treshold": "0.4"}, 78, "VOICETAP_VAD_THRESHOLD"),
        (["up"], {"vad_threshold": "loud"}, 78, "vad.threshold is 'loud', not a number"),
        (["up", "--source", "radio"], {}, 78, "radio"),
        (["up", "--pace", "slow"], {}, 2, "--pace"),
        (["up", "--source", "stdin"], {}, 2, "from a pipe"),
        (["up", "--source", "x=stdin", "--detach"], {}, 2, "the pipe ends with this command"),
        (["down"], {}, 3, "nothing runs in"),
        (["history"], {}, 1, "journal did not answer"),
        (["tap", "transcrpt"], {}, 78, "did you mean transcript?"),
        (["tap", "jobs"], {}, 2, "PUSH/PULL"),
        (["tap", "heartbeat"], {}, 2, "heartbeat-NAME"),
        (["transcribe", "/no/such/file.wav"], {}, 1, "/no/such/file.wav: No such file or directory"),
        (["transcribe", "a.wav", "b.wav", "-o", "/dev/null"], {}, 2, "--output is a directory"),
        (["transcribe", __file__, "-o", "/no/such/dir/x.txt"], {}, 1, "/no/such/dir/x.txt: No such file or directory"),
        (["transcribe", "--format", "doc", __file__], {}, 2, "--format"),
    ],
)
def test_a_mistake_gives_one_line_and_an_exit_code(voicetap, arguments, settings, exit_code, complaint):
    done = voicetap(*arguments, **settings)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    if exit_code != 2:  # click adds how to get help
        assert len(done.stderr.splitlines()) == 1


def test_status_reports_that_nothing_runs(voicetap):
    done = voicetap("status")
    assert done.returncode == 3
    assert "nothing runs in" in done.stdout


def test_status_reports_it_as_json(voicetap):
    assert json.loads(voicetap("status", "--json").stdout) == {"services": [], "sources": []}


def test_devices_and_doctor_print_json(voicetap):
    assert isinstance(json.loads(voicetap("devices", "--json").stdout), list)
    findings = json.loads(
        voicetap("doctor", "--json", transcribe_engine="pocketsphinx", sources=f"file:{__file__}").stdout
    )
    assert all(set(finding) == {"subject", "state", "text", "remedy"} for finding in findings)
    assert all(finding["remedy"] for finding in findings if finding["state"] != "ok")
    assert {finding["subject"] for finding in findings} >= {"settings", "runtime directory", "source file", "model"}


@pytest.mark.parametrize(
    ("settings", "subject"),
    [
        ({"vad_treshold": "1"}, "settings"),
        ({"sources": "file:/no/such/file"}, "source file"),
        (
            {"transcribe_engine": "faster-whisper", "transcribe_model": "/no/such/model", "transcribe_offline": "1"},
            "model",
        ),
    ],
)
def test_doctor_finds_problems(voicetap, settings, subject):
    done = voicetap("doctor", "--json", **settings)
    assert done.returncode == 1
    assert subject in {finding["subject"] for finding in json.loads(done.stdout) if finding["state"] == "problem"}


def test_settings_lists_values_and_defaults(voicetap):
    rows = {row["name"]: row for row in json.loads(voicetap("settings", "--json", vad_endpoint_ms="300").stdout)}
    assert rows["vad.endpoint_ms"]["value"] == "300"
    assert rows["vad.endpoint_ms"]["default"] == "544"
    assert rows["vad.endpoint_ms"]["variable"] == "VOICETAP_VAD_ENDPOINT_MS"
    assert all(row["meaning"] for row in rows.values())


def test_keys_are_created_once_and_clients_come_and_go(voicetap, tmp_path: Path):
    server = ("--dir", str(tmp_path / "keys"))
    assert voicetap("keys", "allow", "laptop", *server).stderr.startswith("voicetap: ")
    assert f'curve_dir = "{tmp_path}/keys"' in voicetap("keys", "init", *server).stdout
    secret = (tmp_path / "keys/server.key_secret").read_bytes()
    again = voicetap("keys", "init", *server)
    assert again.returncode == 1 and "has a server key already" in again.stderr
    assert (tmp_path / "keys/server.key_secret").read_bytes() == secret

    allowed = voicetap("keys", "allow", "laptop", "--to", str(tmp_path / "laptop"), *server)
    assert f"copy {tmp_path}/laptop/" in allowed.stdout and (tmp_path / "laptop/client.key_secret").exists()
    assert voicetap("keys", "list", *server).stdout == "laptop\n"
    assert voicetap("keys", "revoke", "laptop", *server).returncode == 0
    assert voicetap("keys", "revoke", "laptop", *server).returncode == 1
    assert voicetap("keys", "list", *server).stdout == ""
    assert "set curve_dir, or give --dir" in voicetap("keys", "list").stderr


@pytest.mark.parametrize(
    ("counts", "expected_hz", "line"),
    [
        ({"audio_head": 10, "audio_frame": 31}, 41.25, "audio_frame 31/s  audio_head 10/s  (41/s, 41.25/s expected)"),
        ({"heartbeat": 2}, 2, "heartbeat 2/s  (2/s, 2/s expected)"),
        ({}, 2, "nothing  (0/s, 2/s expected)"),
        ({"job": 1}, 0, "job 1/s  (1/s, on demand)"),
    ],
)
def test_tap_prints_the_expected_rate_beside_the_measured(counts, expected_hz, line):
    assert rate_line(Counter(counts), expected_hz) == line


def test_a_closed_standard_input_is_one_line(runtime_dir: Path):
    command = f"{shlex.quote(sys.executable)} -m voicetap_bundle up --source stdin <&-"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=processes.environment(runtime_dir)
    )
    assert done.returncode == 2 and "standard input is closed" in done.stderr and "Traceback" not in done.stderr


def test_a_broken_file_keeps_nobody_from_the_bundle(voicetap, tmp_path: Path):
    config = tmp_path / "voicetap.toml"
    config.write_text("[vad]\nthresold = 1")
    for command, exit_code in ((["down"], 3), (["status"], 3)):
        done = voicetap(*command, config=str(config))
        assert done.returncode == exit_code and "did you mean threshold?" in done.stderr, done.stderr
