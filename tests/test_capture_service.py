"""capture as a process, on files and pipes."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from rig.listener import Listener
from rig.processes import environment, output_of
from voicetap.bus import Bus
from voicetap.errors import EX_CONFIG
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES
from voicetap_capture.ring import Ring

MODULE = "voicetap_capture"
SECONDS = 3
PCM = struct.pack(f"<{16_000 * SECONDS}h", *(index % 32_000 for index in range(16_000 * SECONDS)))
FRAMES = -(-len(PCM) // FRAME_BYTES)
PADDED = PCM + bytes(-len(PCM) % FRAME_BYTES)


@pytest.fixture
def listener(settings):
    with Bus("app", settings) as bus:
        yield lambda source: Listener(bus, source)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "ramp.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(PCM)
    return path


def stop(process: subprocess.Popen) -> float:
    start_s = time.monotonic()
    process.terminate()
    assert process.wait(5) == 0
    return time.monotonic() - start_s


def test_a_file_becomes_numbered_frames_and_stays_for_replay(spawn, listener, recording, runtime_dir, settings):
    heard = listener("file")
    process = spawn(MODULE, sources=f"file:{recording}", capture_pace="max")
    heard.until(lambda: heard.state == "ended" and heard.next_seq == FRAMES)
    frames = heard.collect()
    assert b"".join(frame.pcm for frame in frames) == PADDED
    assert [frame.position for frame in frames] == [seq * FRAME_SAMPLES for seq in range(FRAMES)]
    assert {frame.gap_reason for frame in frames} == {""}
    heard.until(lambda: heard.beats and heard.beats[-1].sources)
    [state] = heard.beats[-1].sources
    assert (state.state, state.position_s, state.gaps) == ("ended", FRAMES * 0.032, 0)
    heard.progress(0, FRAMES, "drained")
    assert stop(process) < 1.5, "all of it is committed, so it need not wait"
    assert output_of(MODULE, runtime_dir) == ""
    assert sorted(path.name for path in runtime_dir.iterdir()) == ["audio-file.ring"]
    with Ring(runtime_dir / "audio-file.ring", "file", settings.capture.ring_s, f"file:{recording}") as ring:
        assert [ring.read(seq) for seq in range(FRAMES)] == frames


def test_realtime_is_real_time_and_live_frames_have_no_hole(spawn, listener, recording):
    heard = listener("file")
    spawn(MODULE, sources=f"file:{recording}")
    heard.until(lambda: len(heard.frames) >= 40)
    first, *_, last = sorted(heard.frames)
    assert list(heard.frames) == list(range(first, last + 1)), "in order, without a hole"
    seconds = (heard.frames[last].captured_ns - heard.frames[first].captured_ns) / 1e9
    assert seconds == pytest.approx((last - first) * 0.032, abs=0.1)


def test_a_killed_capture_goes_on_where_it_was(spawn, listener, recording):
    heard = listener("file")
    for frames in (20, 45, 70):
        process = spawn(MODULE, sources=f"file:{recording}")
        heard.until(lambda frames=frames: heard.next_seq >= frames)
        process.kill()
        process.wait()
    spawn(MODULE, sources=f"file:{recording}")
    heard.until(lambda: heard.state == "ended")
    assert len({head.stream for head in heard.heads}) == 1
    assert b"".join(frame.pcm for frame in heard.collect()) == PADDED


def test_a_fast_file_waits_for_its_reader(spawn, listener, recording):
    heard = listener("file")
    spawn(MODULE, sources=f"file:{recording}", capture_pace="max", capture_ring_s=10)
    heard.until(lambda: heard.state == "ended")
    assert heard.heads[-1].first_seq == 0
    heard = listener("long")
    long = Path(recording.parent, "long.raw")
    long.write_bytes(PCM * 20)
    spawn(MODULE, "2", sources=f"file:{recording};long=raw:{long}", capture_pace="max", capture_ring_s=10)
    heard.until(lambda: heard.next_seq == 156)  # half the ring
    heard.progress(100)
    heard.until(lambda: heard.next_seq > 156)
    heard.until(lambda: heard.next_seq == 100 + 312 - 39)
    assert heard.state == "live"
    assert heard.heads[-1].first_seq <= 100


def test_replay_is_bounded_and_of_this_stream_only(spawn, listener, tmp_path):
    long = tmp_path / "long.raw"
    long.write_bytes(PCM * 4)
    heard = listener("raw")
    spawn(MODULE, sources=f"raw:{long}", capture_pace="max")
    heard.until(lambda: heard.state == "ended")
    heard.ask(5, 10, stream="ffff")
    heard.ask(100, 1_000_000)
    heard.until(lambda: len(heard.replayed) >= 256)
    heards = len(heard.heads)
    heard.until(lambda: len(heard.heads) > heards + 2)
    assert sorted(heard.replayed) == list(range(100, 356))


def test_a_pipe_survives_a_killed_capture(spawn, listener):
    read_fd, write_fd = os.pipe()
    heard = listener("raw")
    source = f"raw:/proc/{os.getpid()}/fd/{read_fd}"
    process = spawn(MODULE, sources=source)
    os.write(write_fd, PCM[: 30 * FRAME_BYTES + 11])
    heard.until(lambda: heard.next_seq == 30)
    process.kill()
    process.wait()
    os.write(write_fd, PCM[30 * FRAME_BYTES + 11 : 50 * FRAME_BYTES + 3])
    os.close(write_fd)
    spawn(MODULE, sources=source)
    heard.until(lambda: heard.state == "ended" and heard.next_seq == 51)
    expected = PCM[: 50 * FRAME_BYTES + 2] + bytes(FRAME_BYTES - 2)
    assert b"".join(frame.pcm for frame in heard.collect()) == expected
    os.close(read_fd)


@pytest.mark.parametrize("bundle_stops", [True, False])
def test_under_supervision_only_the_end_of_the_bundle_is_the_end_of_the_sound(
    runtime_dir, listener, recording, bundle_stops
):
    heard = listener("file")
    supervisor = environment(runtime_dir, sources=f"file:{recording}", supervisor_pid=os.getpid())
    process = subprocess.Popen([sys.executable, "-W", "error", "-m", MODULE], env=supervisor)
    heard.until(lambda: heard.next_seq > 5)
    if bundle_stops:
        (runtime_dir / "stopping").touch()
    assert stop(process) < 3, "and waits for its reader no longer than supervisord for it"
    for _ in range(5):
        heard.hear()
    assert ("stopping" in {head.state for head in heard.heads}) == bundle_stops
    assert not any(frame.pcm[-2:] == b"\0\0" for frame in heard.frames.values()), "no silence put in"


@pytest.mark.parametrize(
    "arguments, settings, complaint",
    [
        ((), {"sources": "file:/nowhere.wav"}, "/nowhere.wav: No such file or directory"),
        ((), {"sources": "raw:/dev/zero"}, "not a pipe or a file"),
        (("2",), {"sources": "mic"}, "there is no source 2: sources names 1"),
    ],
)
def test_what_no_restart_will_cure_is_one_line(spawn, runtime_dir, arguments, settings, complaint):
    assert spawn(MODULE, *arguments, **settings).wait(10) == EX_CONFIG
    [line] = output_of(MODULE, runtime_dir).splitlines()
    assert complaint in line
    assert not list(runtime_dir.glob("*.lock"))


def test_devices_are_listed_as_json_and_quietly(runtime_dir):
    shown = subprocess.run(
        [sys.executable, "-m", MODULE, "--devices"], env=environment(runtime_dir), capture_output=True, check=True
    )
    assert shown.stderr == b""
    assert isinstance(json.loads(shown.stdout), list)


def test_sigint_ends_it_as_sigterm_does(spawn, listener, recording):
    heard = listener("file")
    process = spawn(MODULE, sources=f"file:{recording}")
    heard.until(lambda: heard.next_seq > 5)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0
