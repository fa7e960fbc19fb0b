"""Files and pipes as sources."""

import os
import pty
import struct
import wave
from pathlib import Path

import av
import pytest

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES
from voicetap_capture.sources.file import FileSource
from voicetap_capture.sources.raw import open_raw

RAMP = struct.pack("<20000h", *(index % 8000 - 4000 for index in range(20_000)))


def write_wav(path: Path, pcm: bytes, rate_hz: int = 16_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return path


def write_coded(path: Path, codec: str, pcm: bytes) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.rate = 16_000
        fitted = av.AudioResampler(stream.format, "mono", 16_000, frame_size=stream.codec_context.frame_size)
        for piece in [*fitted.resample(frame), *fitted.resample(None), None]:
            container.mux(stream.encode(piece))
    return path


def read_all(source, block_bytes: int = FRAME_BYTES) -> bytes:
    found = b""
    while source.state == "live":
        pcm = source.read(block_bytes)
        assert len(pcm) <= block_bytes
        found += pcm
    source.close()
    return found


def test_a_wav_file_is_read_bit_for_bit(tmp_path):
    path = write_wav(tmp_path / "a.wav", RAMP)
    assert read_all(FileSource(str(path), 0, realtime=False)) == RAMP


def test_a_flac_file_is_read_bit_for_bit(tmp_path):
    path = write_coded(tmp_path / "a.flac", "flac", RAMP)
    assert read_all(FileSource(str(path), 0, realtime=False)) == RAMP


@pytest.mark.parametrize("name, codec", [("a.mp3", "libmp3lame"), ("a.opus", "libopus")])
def test_compressed_files_are_read(tmp_path, name, codec):
    path = write_coded(tmp_path / name, codec, RAMP)
    assert len(read_all(FileSource(str(path), 0, realtime=False))) == pytest.approx(len(RAMP), abs=2 * 4000)


def test_a_stereo_file_of_another_rate_becomes_mono_at_16_khz(tmp_path):
    path = write_wav(tmp_path / "a.wav", RAMP * 4, rate_hz=48_000, channels=2)
    assert len(read_all(FileSource(str(path), 0, realtime=False))) // 2 == pytest.approx(40_000 / 3, abs=40)


@pytest.mark.parametrize("position", [0, 512, 1234, 19_999, 20_000, 30_000])
def test_a_file_resumes_at_the_sample(tmp_path, position):
    path = write_coded(tmp_path / "a.flac", "flac", RAMP)
    assert read_all(FileSource(str(path), position, realtime=False)) == RAMP[2 * position :]


@pytest.mark.parametrize(
    "content, complaint",
    [
        (None, "No such file"),
        (b"", "Invalid data|no sound"),
        (b"what is this" * 500, "Invalid data|no audio|no sound"),
    ],
)
def test_a_file_that_is_no_audio_is_one_line(tmp_path, content, complaint):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        FileSource(str(path), 0, realtime=False)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_without_samples_or_audio_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="holds no sound"):
        FileSource(str(write_wav(tmp_path / "a.wav", b"")), 0, realtime=False)
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    with pytest.raises(ConfigError, match="no audio stream"):
        FileSource(str(subtitles), 0, realtime=False)


# ---- raw ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 700])
def test_a_raw_file_is_read_unchanged(tmp_path, position):
    path = tmp_path / "a.raw"
    path.write_bytes(RAMP + b"\x55")
    assert read_all(open_raw(str(path), position, realtime=False), 3 * FRAME_BYTES) == RAMP[2 * position :]


def test_a_pipe_yields_whole_frames_and_at_its_end_the_rest(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = open_raw(str(path), 0, realtime=True)
    assert (source.read(4 * FRAME_BYTES), source.state) == (b"", "live"), "it has no writer yet"
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, RAMP[: FRAME_BYTES - 1])
    assert source.read(4 * FRAME_BYTES) == b"", "an incomplete frame stays where a successor finds it"
    os.write(writer, RAMP[FRAME_BYTES - 1 : 2 * FRAME_BYTES + 333])
    assert source.read(4 * FRAME_BYTES) == RAMP[: 2 * FRAME_BYTES]
    assert source.read(4 * FRAME_BYTES) == b""
    os.close(writer)
    assert source.state == "live"
    assert source.read(4 * FRAME_BYTES) == RAMP[2 * FRAME_BYTES : 2 * FRAME_BYTES + 332]
    assert source.state == "ended"
    source.close()


def test_a_successor_resumes_the_pipe_of_another_process():
    read_fd, write_fd = os.pipe()
    os.write(write_fd, RAMP[: 2 * FRAME_BYTES + 100])
    first = open_raw(f"/proc/{os.getpid()}/fd/{read_fd}", 0, realtime=True)
    assert first.read(FRAME_BYTES) == RAMP[:FRAME_BYTES]
    first.close()
    os.close(write_fd)
    second = open_raw(f"/proc/{os.getpid()}/fd/{read_fd}", 512, realtime=True)
    assert read_all(second) == RAMP[FRAME_BYTES : 2 * FRAME_BYTES + 100]
    os.close(read_fd)


def test_what_cannot_be_audio_is_refused():
    leader, terminal = pty.openpty()
    try:
        with pytest.raises(ConfigError, match="is a terminal: pipe raw s16le mono 16 kHz"):
            open_raw(os.ttyname(terminal), 0, realtime=True)
    finally:
        os.close(leader)
        os.close(terminal)
    with pytest.raises(ConfigError, match="raw:/nowhere: No such file"):
        open_raw("/nowhere", 0, realtime=True)
    with pytest.raises(ConfigError, match="not a pipe or a file"):
        open_raw("/dev/zero", 0, realtime=True)
