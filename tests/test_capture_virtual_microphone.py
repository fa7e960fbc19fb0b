"""capture on a microphone: a virtual one, through PyAudio, PortAudio, ALSA and PulseAudio."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from array import array
from pathlib import Path

import pytest

from rig.audio_reader import AudioReader
from rig.microphone import VirtualMicrophone
from rig.processes import environment, output_of
from voicetap.bus import Bus
from voicetap.messages import SAMPLE_RATE_HZ

MODULE = "voicetap_capture"
SOUND = array("h", [(index * 7919) % 20_000 - 10_000 or 1 for index in range(16_000)])


@pytest.fixture
def microphone(monkeypatch):
    with VirtualMicrophone() as virtual:
        for name, value in virtual.environment.items():
            monkeypatch.setenv(name, value)
        yield virtual


@pytest.fixture
def reader(settings):
    with Bus("app", settings) as bus:
        yield AudioReader(bus, "mic")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(SOUND.tobytes())
    return path


def pcm_of(reader: AudioReader) -> bytes:
    return b"".join(reader.frames[seq].pcm for seq in sorted(reader.frames))


def gaps(reader: AudioReader) -> list[tuple[str, float]]:
    """Reason and seconds of every jump in position."""
    frames = [reader.frames[seq] for seq in sorted(reader.frames)]
    return [
        (after.gap_reason, (after.position - before.position - 512) / SAMPLE_RATE_HZ)
        for before, after in zip(frames, frames[1:], strict=False)
        if after.position != before.position + 512
    ]


def test_what_is_played_is_captured_bit_for_bit(microphone, spawn, reader, recording):
    process = spawn(MODULE, sources="mic:vmic")
    reader.until(lambda: len(reader.frames) > 3)
    microphone.play(recording).wait()
    reader.until(lambda: SOUND.tobytes() in pcm_of(reader))
    assert list(reader.frames) == list(range(min(reader.frames), max(reader.frames) + 1))
    assert gaps(reader) == []
    assert {head.state for head in reader.heads} == {"live"}
    process.terminate()
    assert process.wait(5) == 0
    reader.until(lambda: reader.state == "stopping")


def test_a_lost_microphone_is_published_and_reopened(microphone, spawn, reader, runtime_dir):
    spawn(MODULE, sources="mic:vmic", capture_device_timeout_s=0.3)
    reader.until(lambda: len(reader.frames) > 10)
    microphone.kill()
    reader.until(lambda: reader.state == "lost")
    reader.until(lambda: reader.heartbeats[-1].state == "degraded" and reader.heartbeats[-1].detail)
    before = len(reader.frames)
    microphone.restart()
    back_s = time.monotonic()
    reader.until(lambda: len(reader.frames) > before)
    assert time.monotonic() - back_s < 0.6, "0.3 s on a machine with nothing else to do"
    reader.until(lambda: reader.state == "live" and reader.heartbeats[-1].state == "ready")
    frames = [reader.frames[seq] for seq in sorted(reader.frames)]
    first = next(frame for frame in frames if frame.gap_reason)
    away_s = (first.captured_ns - frames[first.seq - frames[0].seq - 1].captured_ns) / 1e9
    [(reason, gap_s)] = gaps(reader)
    assert reason == "device_lost"
    assert gap_s == pytest.approx(away_s - 0.032, abs=0.002)
    lines = output_of(MODULE, runtime_dir).splitlines()
    assert sum("listening to 'vmic'" in line for line in lines) == 2
    assert sum("trying again" in line for line in lines) <= 3, lines


def test_an_unplugged_microphone_comes_back(microphone, spawn, reader):
    spawn(MODULE, sources="mic:vmic", capture_device_timeout_s=0.3)
    reader.until(lambda: len(reader.frames) > 10)
    microphone.unload_source()
    reader.until(lambda: reader.state == "lost")
    before = len(reader.frames)
    microphone.load_source()
    reader.until(lambda: len(reader.frames) > before and reader.state == "live")
    assert [reason for reason, _ in gaps(reader)] == ["device_lost"]


def test_the_time_of_a_restart_is_a_gap(microphone, spawn, reader):
    process = spawn(MODULE, sources="mic")
    reader.until(lambda: len(reader.frames) > 10)
    process.kill()
    process.wait()
    spawn(MODULE, sources="mic")
    # by replay: its first frames may have come before the reader was connected again, and old ones may come late
    reader.until(lambda: any(frame.gap_reason for frame in reader.collect()))
    frames = reader.collect()
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    [after] = [frame for frame in frames if frame.gap_reason]
    last = frames[after.seq - 1]
    assert after.gap_reason == "capture_restart"
    away_s = (after.captured_ns - last.captured_ns) / 1e9
    assert (after.position - last.position) / SAMPLE_RATE_HZ == pytest.approx(away_s, abs=0.002)
    assert "lost" not in {head.state for head in reader.heads}, "a restart is no loss of the device"


def test_a_stopped_sound_server_does_not_delay_the_shutdown(microphone, spawn, reader):
    process = spawn(MODULE, sources="mic:vmic")
    reader.until(lambda: len(reader.frames) > 10)
    os.kill(microphone.pid, signal.SIGSTOP)
    try:
        process.terminate()
        reader.until(lambda: reader.state == "stopping")
        assert process.wait(5) == 1, "ended by force, after everything was published"
    finally:
        os.kill(microphone.pid, signal.SIGCONT)


def test_a_sound_server_that_does_not_answer_at_the_start_is_waited_for(microphone, spawn, reader):
    os.kill(microphone.pid, signal.SIGSTOP)
    try:
        process = spawn(MODULE, sources="mic:vmic", loop_timeout_s=0.5)
        reader.until(lambda: reader.state == "lost")
        assert reader.heads[-1].detail == "waiting for vmic to open"
        assert {beat.state for beat in reader.heartbeats} <= {"starting", "degraded"}
        reader.until(lambda: reader.heartbeats[-1].detail == "waiting for vmic to open")
    finally:
        os.kill(microphone.pid, signal.SIGCONT)
    reader.until(lambda: len(reader.frames) > 10 and reader.heartbeats[-1].state == "ready")
    assert {beat.pid for beat in reader.heartbeats} == {process.pid}


def test_a_device_that_is_being_opened_does_not_delay_the_shutdown(microphone, spawn, reader):
    os.kill(microphone.pid, signal.SIGSTOP)
    try:
        process = spawn(MODULE, sources="mic:vmic")
        reader.until(lambda: reader.heartbeats)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        os.kill(microphone.pid, signal.SIGCONT)


def test_a_missing_device_is_retried_and_the_others_are_named(microphone, spawn, reader, runtime_dir):
    process = spawn(MODULE, sources="mic:Jabra")
    reader.until(lambda: reader.state == "lost")
    for _ in range(50):
        reader.poll()
    assert process.poll() is None
    assert reader.heads[-1].detail == "no input device is called 'Jabra'; there are: 'vmic', 'default'"
    [line] = output_of(MODULE, runtime_dir).splitlines()
    assert "Jabra" in line and "trying again" in line
    assert reader.frames == {}
    process.terminate()
    assert process.wait(5) == 0


def test_the_devices_are_listed(microphone, runtime_dir):
    shown = subprocess.run(
        [sys.executable, "-m", MODULE, "--devices"], env=environment(runtime_dir), capture_output=True, check=True
    )
    assert shown.stderr == b""
    devices = {device["name"]: device for device in json.loads(shown.stdout)}
    assert set(devices) == {"vmic", "default"}
    assert devices["vmic"]["supports_16_khz"] is True
    assert devices["default"]["is_default"] is True


def test_a_default_microphone_that_the_sound_server_replaces_is_published(microphone, spawn, reader):
    microphone.load_other_source()
    spawn(MODULE, sources="mic")
    reader.until(lambda: len(reader.frames) > 40)  # the first query of the sound server is over
    microphone.move("other.monitor")
    reader.until(lambda: reader.heads[-1].detail == "the sound server has moved us to 'other.monitor'")
    assert reader.state == "live"
    reader.until(lambda: reader.heartbeats[-1].state == "degraded")  # on another socket


def test_a_chosen_microphone_that_the_sound_server_replaces_is_lost_and_reopened(microphone, spawn, reader):
    microphone.load_other_source()
    spawn(MODULE, sources="mic:vmic")
    reader.until(lambda: len(reader.frames) > 40)
    microphone.move("other.monitor")
    reader.until(lambda: reader.state == "lost")
    lost = next(head for head in reversed(reader.heads) if head.state == "lost")
    assert lost.detail == "'vmic' was replaced by 'other.monitor', by the sound server"
    reader.until(lambda: reader.state == "live" and gaps(reader))
    assert gaps(reader)[-1][0] == "device_lost"
