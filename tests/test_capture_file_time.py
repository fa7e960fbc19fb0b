"""A file's own time: audio that begins late, pauses, and damage are jumps in position, the same in every run."""

import numpy as np
import pytest

from rig.audio_reader import AudioReader
from rig.media import damage, write_media
from rig.speech import SENTENCES, have_flite, pcm_of, synthesize
from voicetap.bus import Bus
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap_capture.framer import Framer
from voicetap_capture.sources.file import FileSource
from voicetap_capture.sources.timeline import Hole, Timeline

SECOND = SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> np.ndarray:
    """About ten seconds."""
    if not have_flite():
        return np.random.default_rng(1).normal(0, 3000, 10 * SECOND).astype("<i2")
    spoken = synthesize(" ".join(SENTENCES[:5]), tmp_path_factory.mktemp("speech") / "a.wav")
    return np.frombuffer(pcm_of(spoken.path), "<i2")[: 10 * SECOND]


def frames_of(path, last=None, count=10**6):
    """What capture would commit, as far as `count` frames; continues after `last`, as a restarted one does."""
    source = FileSource(str(path), last.position + FRAME_SAMPLES if last else 0, realtime=False)
    framer, frames = Framer("file", "ab12", last), []
    while source.state == "live" and len(frames) < count:
        pcm = source.read(3 * FRAME_BYTES)
        if source.jump:
            frames += framer.flush()
            framer.skip_to(source.jump.position, source.jump.reason)
        frames += framer.add(pcm, 0, 0)
    frames += framer.flush() if source.state == "ended" else ()
    source.close()
    return frames[:count]


def content(frames) -> list[tuple[int, int, bytes, str]]:
    """All but the clocks."""
    return [(frame.seq, frame.position, frame.pcm, frame.gap_reason) for frame in frames]


def jumps(frames) -> list[tuple[float, float, str]]:
    """From and to in seconds, and the reason, of every jump in position."""
    ends = [0, *(frame.position + FRAME_SAMPLES for frame in frames)]
    return [
        (end / SECOND, frame.position / SECOND, frame.gap_reason)
        for end, frame in zip(ends, frames, strict=False)
        if frame.position != end
    ]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_audio_that_begins_late_in_a_film_is_late(tmp_path, speech, name):
    path = write_media(tmp_path / name, "aac", [(8, speech)], video_s=20)
    [jump] = jumps(frames_of(path))
    assert jump == (0, pytest.approx(8, abs=0.07), "paused"), "an encoder's delay is 64 ms"


@pytest.mark.parametrize(
    "name, codec", [("a.webm", "libopus"), ("a.mkv", "flac"), ("a.mp4", "aac"), ("a.ogg", "libopus")]
)
def test_a_pause_in_a_file_keeps_its_time(tmp_path, speech, name, codec):
    path = write_media(tmp_path / name, codec, [(0, speech), (30, speech)])
    [jump] = jumps(frames_of(path))
    assert jump == (pytest.approx(len(speech) / SECOND, abs=0.2), pytest.approx(30, abs=0.15), "paused")


@pytest.mark.parametrize(
    "name, codec", [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.m4a", "aac")]
)
def test_damage_in_a_file_keeps_the_time_behind_it(tmp_path, speech, name, codec):
    path = write_media(tmp_path / name, codec, [(0, np.tile(speech, 3))])
    whole = frames_of(path)
    frames = frames_of(damage(path, 0.4, 0.6))
    [(start_s, end_s, reason)] = jumps(frames)
    assert reason == "damaged" and 3 < end_s - start_s < 9
    assert frames[-1].position == pytest.approx(whole[-1].position, abs=0.1 * SECOND)
    behind = next(index for index, frame in enumerate(frames) if frame.gap_reason) + 40
    assert_alike(frames[behind : behind + 60], whole)


def assert_alike(frames, whole) -> None:
    """At most 60 ms from where they are in the whole file."""
    start = frames[0].position
    found = np.frombuffer(b"".join(frame.pcm for frame in frames), "<i2").astype(float)
    pcm = np.frombuffer(b"".join(frame.pcm for frame in whole), "<i2").astype(float)
    around = pcm[start - 1600 : start + len(found) + 1600]
    offset = int(np.correlate(around, found, "valid").argmax()) - 1600
    assert abs(offset) < 960, offset / SECOND


def test_a_whole_file_has_no_jump(tmp_path, speech):
    for name, codec in (("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.m4a", "aac")):
        assert jumps(frames_of(write_media(tmp_path / name, codec, [(0, speech)]))) == []


def test_a_restart_at_any_frame_changes_nothing(tmp_path, speech):
    path = write_media(tmp_path / "a.mkv", "flac", [(2, speech[: 3 * SECOND]), (9, speech), (40, speech)], video_s=1)
    whole = frames_of(path)
    assert len(jumps(whole)) == 3
    for count in (1, 2, 93, 94, 95, 96, 200, len(whole) - 1, len(whole)):
        before = frames_of(path, count=count)
        assert content(before + frames_of(path, last=before[-1])) == content(whole), count


def test_a_killed_capture_resumes_a_file_with_holes(spawn, settings, tmp_path, speech):
    path = write_media(tmp_path / "a.mkv", "flac", [(0, speech[: 2 * SECOND]), (4, speech)])
    whole = frames_of(path)
    with Bus("app", settings) as bus:
        reader = AudioReader(bus, "file")
        for count in (20, 70, 130):
            process = spawn("voicetap_capture", sources=f"file:{path}")
            reader.until(lambda count=count: reader.next_seq >= count)
            process.kill()
            process.wait()
        spawn("voicetap_capture", sources=f"file:{path}", capture_pace="max")
        reader.until(lambda: reader.state == "ended")
        found = reader.collect()
    assert content(found) == content(whole)
    assert reader.heartbeats[-1].sources[0].gaps in (0, 1), "counted by the process that met it"


# ---- timeline -----------------------------------------------------------------------------------


def test_rounded_timestamps_are_no_holes():
    timeline = Timeline(is_elementary=False, is_alone=True)
    assert not any(timeline.place(round(n * 0.064, 2) + 0.05 * (n % 3), 0.064) for n in range(1000))


def test_timestamps_that_start_anew_continue():
    timeline = Timeline(is_elementary=False, is_alone=True)
    assert [timeline.place(at_s, 1.0) for at_s in (0, 1, 2, 0, 1, 2)] == [None] * 6
    assert timeline.place(5, 1.0) == Hole(6.0, 8.0, "paused")
    assert timeline.place(1e9, 1.0) is None, "no file is that long"


def test_a_frame_without_a_timestamp_follows_the_last():
    timeline = Timeline(is_elementary=False, is_alone=True)
    assert [timeline.place(at_s, 1.0) for at_s in (0, None, 2, None)] == [None] * 4
