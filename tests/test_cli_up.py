"""The `voicetap` command with a real bundle: `up`, the commands beside it, and Ctrl-C at every stage of a start."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr

from rig import processes, speech
from rig.disk import fill
from rig.media import write_media
from rig.processes import eventually

SENTENCE = "the boy was there when the sun rose"
SPHINX = ("--engine", "pocketsphinx")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech.synthesize(SENTENCE, tmp_path_factory.mktemp("speech") / "hello.wav").path


@pytest.fixture
def voicetap(runtime_dir: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`voicetap("up", "--once")`: the running process, its output in pipes. Killed after the test."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str, stdin: int = subprocess.DEVNULL, **settings: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "voicetap_bundle", *arguments]
        environment = processes.environment(runtime_dir, **settings) | {"PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdin=stdin, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finished(process: subprocess.Popen, within_s: float = 30) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr without what a slow start prints meanwhile."""
    out, err = process.communicate(timeout=within_s)
    return process.returncode, out, "".join(line for line in err.splitlines(True) if not line.startswith("starting "))


def test_once_prints_the_text_and_ends(voicetap, spoken: Path, runtime_dir: Path):
    code, out, err = finished(voicetap("up", "--source", f"hall=file:{spoken}", "--pace", "max", *SPHINX, "--once"))
    assert (code, err) == (0, "")
    assert f"hall {SENTENCE}" in out
    assert "pocketsphinx" in out
    assert not runtime_dir.exists()


def test_stdin_is_a_source_and_json_has_the_fields_of_the_wire(voicetap, spoken: Path):
    read_fd, write_fd = os.pipe()
    process = voicetap("up", "--source", "stdin", *SPHINX, "--once", "--json", stdin=read_fd)
    os.close(read_fd)
    with open(write_fd, "wb") as pipe:
        pipe.write(speech.pcm_of(spoken) + speech.silence(1.0))
    code, out, _ = finished(process)
    assert code == 0
    final = json.loads(out)
    assert (final["type"], final["text"], final["source"], final["journal_seq"]) == ("final", SENTENCE, "stdin", 1)


def test_other_commands_read_and_stop_a_detached_bundle(voicetap, spoken: Path, runtime_dir: Path):
    assert finished(voicetap("up", "--source", f"file:{spoken}", "--pace", "max", *SPHINX, "--detach"))[0] == 0
    rate = voicetap("tap", "heartbeat-vad", "--rate")
    tail = voicetap("tail", "--since", "1", "--json")
    assert json.loads(tail.stdout.readline())["text"] == SENTENCE
    code, out, _ = finished(voicetap("status", "--json"))
    services = json.loads(out)["services"]
    assert code == 0
    assert [service["name"] for service in services] == ["capture-1", "vad", "transcribe-1", "journal", "watchdog"]
    assert SENTENCE in finished(voicetap("history"))[1]
    assert re.fullmatch(r"heartbeat \d/s  \(\d/s, 2/s expected\)\n", rate.stdout.readline())
    code, _, err = finished(voicetap("up", "--source", f"file:{spoken}"))
    assert (code, len(err.splitlines())) == (75, 1)
    assert "runs already, as process" in err
    assert finished(voicetap("down"))[0] == 0
    assert not runtime_dir.exists()


@pytest.mark.parametrize("stage", ["bundle.lock", "supervisor.sock", "capture-1.lock", "heartbeat-transcribe-1"])
def test_ctrl_c_at_any_stage_of_the_start_leaves_nothing(voicetap, spoken: Path, runtime_dir: Path, stage: str):
    runtime_dir.rmdir()
    process = voicetap("up", "--source", f"file:{spoken}", *SPHINX)
    eventually((runtime_dir / stage).exists, within_s=10, what=stage)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process, within_s=5)
    assert (code, err) == (0, "")
    assert not processes.processes_of(runtime_dir)
    assert not runtime_dir.exists()


def test_a_bundle_dies_with_the_up_command(voicetap, spoken: Path, runtime_dir: Path):
    process = voicetap("up", "--source", f"file:{spoken}", *SPHINX)
    eventually((runtime_dir / "heartbeat-vad").exists, within_s=10, what="vad")
    process.kill()
    process.wait()
    eventually(lambda: not processes.processes_of(runtime_dir), within_s=8, what="the end of every process")
    assert not runtime_dir.exists()


def test_a_failed_start_gives_its_reason_in_one_line(voicetap):
    code, _, err = finished(voicetap("up", "--source", "file:/no/such/file.wav", *SPHINX))
    assert (code, len(err.splitlines())) == (78, 1)
    assert "/no/such/file.wav" in err


@pytest.mark.parametrize("is_late", [False, True])
def test_a_wav_file_on_stdin_is_one_line(voicetap, spoken: Path, runtime_dir: Path, is_late):
    read_fd, write_fd = os.pipe()
    process = voicetap("up", "--source", "stdin", *SPHINX, "--once", "--json", stdin=read_fd)
    os.close(read_fd)
    if is_late:
        assert any("engine: " in line for line in iter(process.stderr.readline, "")), "it has started"
    os.write(write_fd, spoken.read_bytes()[:60_000])
    os.close(write_fd)
    code, out, err = finished(process)
    assert (code, out) == (78, "")
    assert "standard input is a WAV file, not raw sound: use file:PATH, or " in err.splitlines()[-1]


def test_raw_sound_of_any_kind_is_a_source(voicetap, spoken: Path, tmp_path: Path):
    """44.1 kHz big-endian float stereo, one channel of which is inverted."""
    mono = soxr.resample(np.frombuffer(speech.pcm_of(spoken), "<i2") / 32768, 16_000, 44_100)
    raw = tmp_path / "a.raw"
    raw.write_bytes(np.stack([mono, -mono], axis=1).astype(">f4").tobytes())
    with raw.open("rb") as file:
        options = ("--rate", "44100", "--channels", "2", "--encoding", "f32be", "--pace", "max")
        process = voicetap("up", "--source", "stdin", *options, *SPHINX, "--once", "--json", stdin=file.fileno())
    code, out, _ = finished(process)
    assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, [SENTENCE])


def test_a_film_has_its_own_time(voicetap, spoken: Path, tmp_path: Path):
    samples = np.frombuffer(speech.pcm_of(spoken), "<i2")
    film = write_media(tmp_path / "a.mp4", "aac", [(8, np.concatenate([samples, np.zeros(16_000, "<i2")]))], video_s=12)
    code, out, err = finished(voicetap("transcribe", str(film), "--format", "srt", *SPHINX))
    assert (code, SENTENCE in out) == (0, True)
    assert re.match(r"1\n00:00:07,9\d\d --> 00:00:1\d", out), out
    assert f"voicetap: {film}: no sound from 0:00.0 to 0:07.9: paused" in err


def test_files_become_subtitles(voicetap, spoken: Path, tmp_path: Path):
    target = tmp_path / "out.srt"
    code, out, err = finished(voicetap("transcribe", str(spoken), "--format", "srt", "-o", str(target), *SPHINX))
    assert (code, out) == (0, "")
    assert err.startswith("engine: pocketsphinx"), "what was used is said"
    assert target.read_text().startswith("1\n00:00:0")
    assert SENTENCE in target.read_text()


def test_several_files_need_one_bundle_and_a_bad_one_ends_no_other(voicetap, spoken: Path, tmp_path: Path):
    for name in ("a/talk.wav", "b/talk.wav", "c/other.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(spoken, tmp_path / name)
    (tmp_path / "broken.wav").write_text("no sound at all")
    files = [str(tmp_path / name) for name in ("a/talk.wav", "broken.wav", "b/talk.wav", "c/other.wav")]
    (tmp_path / "out").mkdir()
    code, out, err = finished(voicetap("transcribe", *files, "-o", str(tmp_path / "out"), *SPHINX), within_s=60)
    assert (code, out) == (1, "")
    assert [line for line in err.splitlines() if line.startswith("voicetap: ")][0].startswith(f"voicetap: {files[1]}: ")
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir() if path.read_text()}
    assert set(texts) == {"talk.wav-1.txt", "talk.wav-2.txt", "other.txt"}
    assert all(text == f"{SENTENCE}\n" for text in texts.values())


def test_a_file_without_sound_is_reported(voicetap):
    code, out, err = finished(voicetap("transcribe", __file__, *SPHINX))
    assert code != 0
    assert (out, len(err.splitlines())) == ("", 1)
    assert Path(__file__).name in err


def test_a_directory_with_files_of_others_is_refused_and_keeps_them(voicetap, spoken: Path, runtime_dir: Path):
    (runtime_dir / "log").mkdir()
    (runtime_dir / "log/diary.log").write_text("dear diary")
    (runtime_dir / "thesis.tmp").touch()
    (runtime_dir / "notes").touch()
    code, _, err = finished(voicetap("up", "--source", f"file:{spoken}", "--once", *SPHINX))
    assert code == 78 and "holds files of others" in err and len(err.splitlines()) == 1
    assert (runtime_dir / "log/diary.log").exists() and (runtime_dir / "thesis.tmp").exists()


def test_once_ends_although_the_disk_of_the_journal_stays_full(voicetap, spoken: Path, small_disk: Path):
    fill(small_disk / "ballast")
    options = ("--source", f"file:{spoken}", "--pace", "max", "--once", *SPHINX)
    code, out, err = finished(voicetap("up", *options, journal_data_dir=str(small_disk)), within_s=50)
    assert SENTENCE in out, "published all the same"
    assert code == 75 and "in memory only" in err.splitlines()[-1], err
