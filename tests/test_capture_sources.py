"""Files and pipes as sources."""

import contextlib
import os
import pty
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES
from voicetap_capture.sources.file import FileSource
from voicetap_capture.sources.pcm import RawFormat
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


@pytest.fixture
def pipe():
    """The path of an anonymous pipe's read end, and the descriptor of its write end."""
    read_fd, write_fd = os.pipe()
    yield f"/proc/{os.getpid()}/fd/{read_fd}", write_fd
    os.close(read_fd)
    with contextlib.suppress(OSError):
        os.close(write_fd)


def test_a_pipe_yields_whole_frames_and_at_its_end_the_rest(pipe):
    path, writer = pipe
    source = open_raw(path, 0, realtime=True)
    assert (source.read(4 * FRAME_BYTES), source.state) == (b"", "live")
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


def test_a_fifo_waits_for_its_next_writer(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = open_raw(str(path), 0, realtime=True)
    assert (source.read(4 * FRAME_BYTES), source.state) == (b"", "live"), "it has no writer yet"
    for pcm in (RAMP[:3000], RAMP[5000:7000]):
        writer = os.open(path, os.O_WRONLY)
        assert (source.read(FRAME_BYTES), source.state) == (b"", "live")
        os.write(writer, pcm)
        os.close(writer)
        found = b"".join(source.read(FRAME_BYTES) for _ in range(5))
        assert found == pcm
        assert (source.state, source.detail) == ("lost", "the writer of the FIFO has left; waiting for another")
    path.unlink()
    assert source.read(FRAME_BYTES) == b""
    os.mkfifo(path)
    source.read(FRAME_BYTES)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, RAMP[:FRAME_BYTES])
    assert (source.read(FRAME_BYTES), source.state) == (RAMP[:FRAME_BYTES], "live"), "of a new FIFO in its place"
    os.close(writer)
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


CONTAINERS = {
    "a.wav": ("pcm_s16le", "a WAV file"),
    "a.mp3": ("libmp3lame", "an MP3 file"),
    "a.aac": ("aac", "an AAC file"),
    "a.ogg": ("libopus", "an Ogg file"),
    "a.flac": ("flac", "a FLAC file"),
    "a.webm": ("libopus", "a WebM or Matroska file"),
    "a.m4a": ("aac", "an MP4 file"),
    "a.aiff": ("pcm_s16be", "an AIFF file"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_no_raw_audio(tmp_path, pipe, name):
    codec, what = CONTAINERS[name]
    path = write_coded(tmp_path / name, codec, RAMP * 2)
    with pytest.raises(ConfigError, match=f"{name} is {what}, not raw sound: use file:PATH, or .*ffmpeg"):
        open_raw(str(path), 0, realtime=True)
    content = path.read_bytes()
    if name == "a.mp3" and content.startswith(b"ID3"):
        content = content[content.index(b"\xff", 10) :]  # as a stream that was joined late
    os.write(pipe[1], content[:8000])
    source = open_raw(pipe[0], 0, realtime=True)
    with pytest.raises(ConfigError, match=f"standard input is {what}, not raw"):
        source.read(FRAME_BYTES)
    source.close()


def test_raw_audio_that_begins_like_mpeg_is_read(pipe):
    pcm = b"\xff\xfb\x90\x64" * 5000
    source = open_raw(pipe[0], 0, realtime=True)
    os.write(pipe[1], pcm[:2000])
    assert (source.read(4000), source.state) == (b"", "live"), "it may be"
    os.write(pipe[1], pcm[2000:])
    assert source.read(1 << 16) == pcm[:19_456]
    source.close()


def test_a_successor_does_not_take_what_is_left_in_the_pipe_for_a_container(pipe):
    os.write(pipe[1], b"OggS\0" + bytes(5000))
    source = open_raw(pipe[0], 512, realtime=True)
    assert source.read(FRAME_BYTES).startswith(b"OggS")
    source.close()


SINE = (12_000 * np.sin(np.arange(32_000) * 2 * np.pi * 300 / 16_000)).astype("<i2")
ENCODED = {
    "s16be": SINE.astype(">i2"),
    "u8": ((SINE.astype(int) >> 8) + 128).astype("u1"),
    "s32le": SINE.astype("<i4") << 16,
    "f32le": (SINE / 32768).astype("<f4"),
    "f32be": (SINE / 32768).astype(">f4"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_raw_audio_of_another_encoding(tmp_path, encoding):
    path = tmp_path / "a.raw"
    path.write_bytes(ENCODED[encoding].tobytes())
    found = read_all(open_raw(str(path), 0, True, RawFormat(encoding=encoding)))
    error = np.frombuffer(found, "<i2").astype(int) - SINE
    assert np.abs(error).max() <= (256 if encoding == "u8" else 1)
    resumed = read_all(open_raw(str(path), 700, True, RawFormat(encoding=encoding)))
    assert resumed == found[1400:]


@pytest.mark.parametrize("codec, encoding", [("pcm_mulaw", "mulaw"), ("pcm_alaw", "alaw")])
def test_raw_audio_of_a_telephone(tmp_path, codec, encoding):
    path = write_coded(tmp_path / "a.wav", codec, SINE.tobytes())
    content = path.read_bytes()
    raw = tmp_path / "a.raw"
    raw.write_bytes(content[content.index(b"data") + 8 :])
    expected = read_all(FileSource(str(path), 0, False))
    assert read_all(open_raw(str(raw), 0, True, RawFormat(encoding=encoding))) == expected


@pytest.mark.parametrize("position", [0, 512, 20_000])
@pytest.mark.parametrize("rate_hz", [8000, 44_100])
def test_raw_audio_of_another_rate_resumes_at_the_sample(tmp_path, rate_hz, position):
    path = tmp_path / "a.raw"
    path.write_bytes(np.stack([SINE, SINE // 2], axis=1).tobytes())
    format_ = RawFormat(rate_hz, channels=2)
    whole = read_all(open_raw(str(path), 0, True, format_))
    assert len(whole) // 2 == pytest.approx(32_000 * 16_000 / rate_hz, abs=2)
    assert read_all(open_raw(str(path), position, True, format_)) == whole[2 * position :]


def test_a_pipe_of_another_rate_and_channels(pipe):
    stereo = np.stack([SINE, np.zeros_like(SINE)], axis=1)[:8000].tobytes()
    source = open_raw(pipe[0], 0, True, RawFormat(8000, channels=2, channel=0))
    os.write(pipe[1], stereo + b"\0")
    os.close(pipe[1])
    found = read_all(source, 20 * FRAME_BYTES)
    assert (len(found) // 2, source.note) == (16_000, "channel 0 of 2")
    assert np.abs(np.frombuffer(found, "<i2")).max() == pytest.approx(12_000, rel=0.05)


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
