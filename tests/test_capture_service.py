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

from rig.audio_reader import AudioReader
from rig.processes import environment, output_of
from voicetap.bus import Bus
from voicetap.errors import EX_CONFIG
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES
from voicetap_capture.ring import Ring

MODULE = "voicetap_capture"
SECONDS = 3
PCM = struct.pack(f"<{16_000 * SECONDS}h", *(index % 32_000 for index in range(16_000 * SECONDS)))
FRAMES = -(-len(PCM) // FRAME_BYTES)
# A ring of 312 slots; vad's limits must fit into it.
SMALL_RING = {"capture_ring_s": 10, "vad_max_utterance_soft_s": 2, "vad_max_utterance_s": 4}
PADDED = PCM + bytes(-len(PCM) % FRAME_BYTES)


@pytest.fixture
def open_reader(settings):
    with Bus("app", settings) as bus:
        yield lambda source: AudioReader(bus, source)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "ramp.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(PCM)
    return path


def stop(process: subprocess.Popen, number: int = signal.SIGTERM) -> float:
    start_s = time.monotonic()
    process.send_signal(number)
    assert process.wait(5) == 0
    return time.monotonic() - start_s


def test_a_file_becomes_numbered_frames_and_stays_for_replay(spawn, open_reader, recording, runtime_dir, settings):
    reader = open_reader("file")
    process = spawn(MODULE, sources=f"file:{recording}", capture_pace="max")
    reader.until(lambda: reader.state == "ended" and reader.next_seq == FRAMES)
    frames = reader.collect()
    assert b"".join(frame.pcm for frame in frames) == PADDED
    assert [frame.position for frame in frames] == [seq * FRAME_SAMPLES for seq in range(FRAMES)]
    assert {frame.gap_reason for frame in frames} == {""}
    reader.until(lambda: reader.heartbeats and reader.heartbeats[-1].sources)
    [state] = reader.heartbeats[-1].sources
    assert (state.state, state.position_s, state.gaps) == ("ended", FRAMES * 0.032, 0)
    reader.progress(0, FRAMES, "drained")
    assert stop(process) < 1.5, "all of it is committed, so it need not wait"
    assert output_of(MODULE, runtime_dir) == ""
    assert sorted(path.name for path in runtime_dir.iterdir()) == ["audio-file.ring"]
    with Ring(runtime_dir / "audio-file.ring", "file", settings.capture.ring_s, f"file:{recording}") as ring:
        assert [ring.read(seq) for seq in range(FRAMES)] == frames


def test_a_file_name_may_be_any_bytes(spawn, open_reader, recording):
    reader = open_reader("file")
    named = recording.rename(recording.with_name(os.fsdecode(b"caf\xe9=.wav")))
    spawn(MODULE, sources=f"file:{named}", capture_pace="max")
    reader.until(lambda: reader.state == "ended" and reader.next_seq == FRAMES)


def test_realtime_is_real_time_and_live_frames_have_no_hole(spawn, open_reader, recording):
    reader = open_reader("file")
    spawn(MODULE, sources=f"file:{recording}")
    reader.until(lambda: len(reader.frames) >= 40)
    first, *_, last = sorted(reader.frames)
    assert list(reader.frames) == list(range(first, last + 1)), "in order, without a hole"
    seconds = (reader.frames[last].captured_ns - reader.frames[first].captured_ns) / 1e9
    assert seconds == pytest.approx((last - first) * 0.032, abs=0.1)


def test_a_killed_capture_resumes_where_it_was(spawn, open_reader, recording):
    reader = open_reader("file")
    for frames in (20, 45, 70):
        process = spawn(MODULE, sources=f"file:{recording}")
        reader.until(lambda frames=frames: reader.next_seq >= frames)
        process.kill()
        process.wait()
    spawn(MODULE, sources=f"file:{recording}")
    reader.until(lambda: reader.state == "ended")
    assert len({head.stream for head in reader.heads}) == 1
    assert b"".join(frame.pcm for frame in reader.collect()) == PADDED


def test_a_fast_file_waits_for_its_reader(spawn, open_reader, recording):
    reader = open_reader("file")
    spawn(MODULE, sources=f"file:{recording}", capture_pace="max", **SMALL_RING)
    reader.until(lambda: reader.state == "ended")
    assert reader.heads[-1].first_seq == 0
    reader = open_reader("long")
    long = Path(recording.parent, "long.raw")
    long.write_bytes(PCM * 20)
    spawn(MODULE, "2", sources=f"file:{recording};long=raw:{long}", capture_pace="max", **SMALL_RING)
    reader.until(lambda: reader.next_seq == 156)  # half the ring
    reader.progress(100)
    reader.until(lambda: reader.next_seq > 156)
    reader.until(lambda: reader.next_seq == 100 + 312 - 39)
    assert reader.state == "live"
    assert reader.heads[-1].first_seq <= 100


def test_replay_is_bounded_and_of_this_stream_only(spawn, open_reader, tmp_path):
    long = tmp_path / "long.raw"
    long.write_bytes(PCM * 4)
    reader = open_reader("raw")
    spawn(MODULE, sources=f"raw:{long}", capture_pace="max")
    reader.until(lambda: reader.state == "ended")
    reader.request(5, 10, stream="ffff")
    reader.request(100, 1_000_000)
    reader.until(lambda: len(reader.replayed) >= 256)
    heads = len(reader.heads)
    reader.until(lambda: len(reader.heads) > heads + 2)
    assert sorted(reader.replayed) == list(range(100, 356))


def test_a_pipe_survives_a_killed_capture(spawn, open_reader):
    read_fd, write_fd = os.pipe()
    reader = open_reader("raw")
    source = f"raw:/proc/{os.getpid()}/fd/{read_fd}"
    process = spawn(MODULE, sources=source)
    os.write(write_fd, PCM[: 30 * FRAME_BYTES + 11])
    reader.until(lambda: reader.next_seq == 30)
    process.kill()
    process.wait()
    os.write(write_fd, PCM[30 * FRAME_BYTES + 11 : 50 * FRAME_BYTES + 3])
    os.close(write_fd)
    spawn(MODULE, sources=source)
    reader.until(lambda: reader.state == "ended" and reader.next_seq == 51)
    expected = PCM[: 50 * FRAME_BYTES + 2] + bytes(FRAME_BYTES - 2)
    assert b"".join(frame.pcm for frame in reader.collect()) == expected
    os.close(read_fd)


@pytest.mark.parametrize("bundle_stops", [True, False])
def test_under_supervision_only_a_stop_of_the_bundle_ends_the_source(runtime_dir, open_reader, recording, bundle_stops):
    reader = open_reader("file")
    supervisor = environment(runtime_dir, sources=f"file:{recording}", supervisor_pid=os.getpid())
    process = subprocess.Popen([sys.executable, "-W", "error", "-m", MODULE], env=supervisor)
    reader.until(lambda: reader.next_seq > 5)
    if bundle_stops:
        (runtime_dir / "stopping").touch()
    assert stop(process, signal.SIGINT) < 3, "and waits for its reader no longer than supervisord for it"
    for _ in range(5):
        reader.poll()
    assert ("stopping" in {head.state for head in reader.heads}) == bundle_stops
    assert not any(frame.pcm[-2:] == b"\0\0" for frame in reader.frames.values()), "no silence put in"


@pytest.mark.parametrize(
    "arguments, settings, complaint",
    [
        ((), {"sources": "file:/nowhere.wav"}, "/nowhere.wav: No such file or directory"),
        ((), {"sources": "raw:/dev/zero"}, "not a pipe or a file"),
        (("2",), {"sources": "mic"}, "there is no source 2: sources names 1"),
    ],
)
def test_what_a_restart_cannot_fix_is_one_line(spawn, runtime_dir, arguments, settings, complaint):
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


def test_sigint_stops_it_as_sigterm_does(spawn, open_reader, recording):
    reader = open_reader("file")
    process = spawn(MODULE, sources=f"file:{recording}")
    reader.until(lambda: reader.next_seq > 5)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0
