"""What Silero is fed: quiet speech is detected as loud speech is, and a follower forgets all but the latest seconds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rig.vad import make_frame, silent, spoken
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES
from voicetap_vad import silero
from voicetap_vad.frame_buffer import FrameScorer
from voicetap_vad.level import (
    FORGET_FRAMES,
    MAX_GAIN,
    SPEECHLESS_FRAMES,
    TARGET,
    LevelFollower,
    LevelMeter,
    amplified,
    peaks_of,
    samples_of,
)
from voicetap_vad.silero import Silero

EFFORT = effort(max_examples=40)

peaks = st.lists(
    st.tuples(st.sampled_from([0, 1, 30, 41, 400, 8_000, 32_767, 32_768]), st.integers(1, 90)), max_size=12
).map(lambda runs: [value / 32_768 for value, count in runs for _ in range(count)])


@EFFORT
@given(peaks, peaks, peaks)
def test_a_follower_that_was_warmed_up_equals_one_that_never_stopped(before, warm_up, after):
    warm_up = [*warm_up, *[0.0] * FORGET_FRAMES][:FORGET_FRAMES]
    never_stopped, warmed_up = LevelFollower(), LevelFollower()
    never_stopped.gains(before)
    for follower in (never_stopped, warmed_up):
        follower.gains(warm_up)
    assert never_stopped.gains(after).tolist() == warmed_up.gains(after).tolist()


def test_silence_after_full_scale_is_forgotten_as_well():
    """The longest memory there is: five seconds."""
    follower = LevelFollower()
    follower.gains([1.0])
    gains = follower.gains([0.0] * FORGET_FRAMES)
    assert FORGET_FRAMES == 152 and np.all(gains[-1] == np.float32(MAX_GAIN))
    assert np.float32(MAX_GAIN) not in gains[:-1, 0], "and not a frame more"


@EFFORT
@given(peaks)
def test_nothing_is_clipped_or_attenuated_and_the_gain_has_a_ceiling(peaks):
    gains = LevelFollower().gains(peaks)
    limit = np.maximum(TARGET, peaks) + 1e-6
    assert np.all(gains * np.array(peaks).reshape(-1, 1) <= limit.reshape(-1, 1))
    assert np.all(gains >= 1) and np.all(gains <= np.float32(MAX_GAIN))


def test_the_gain_falls_at_once_and_rises_over_a_frame():
    (quiet, loud, after, _) = LevelFollower().gains([0.01, 0.5, 0.01, 0.01]).tolist()
    assert quiet == [100, 100] and loud == [2, 2]
    assert after[0] == 2 and 2 < after[1] < 2.1


def test_frames_join_without_a_step_where_the_gain_rises():
    samples = np.full((3, 512), 0.001, np.float32)
    samples[0, 0] = 0.5
    fed = amplified(samples, LevelFollower().gains(peaks_of(samples))).reshape(-1)[1:]
    assert np.abs(np.diff(fed)).max() < 1e-6


@EFFORT
@given(peaks, st.integers(1, 20))
def test_batches_change_nothing(peaks, size):
    follower = LevelFollower()
    batches = [row for at in range(0, len(peaks), size) for row in follower.gains(peaks[at : at + size]).tolist()]
    assert batches == LevelFollower().gains(peaks).tolist()


def test_the_lowest_sample_has_a_peak():
    assert peaks_of(samples_of(b"\x00\x80" * 512)) == [1.0]


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_quiet_speech_is_detected_as_loud_speech_is(gain):
    scorer = FrameScorer(Silero(silero.load(silero.model_path())))
    loud = np.frombuffer(silent(60) + spoken(), "<i2")
    pcm = np.round(loud * gain).astype("<i2").tobytes()
    frames = [make_frame(at // FRAME_BYTES, pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)]
    probabilities = scorer.probabilities(frames)
    detected = [probabilities[frame.seq] > 0.5 for frame in frames[60:]]
    assert sum(detected) > 0.7 * len(detected)


def measured(*runs: tuple[float, int]) -> LevelMeter:
    """A meter after runs of (amplitude of a square wave, frames)."""
    meter = LevelMeter()
    for amplitude, count in runs:
        samples = np.full((count, FRAME_SAMPLES), amplitude, np.float32)
        samples[:, ::2] *= -1
        meter.update(samples, peaks_of(samples))
    return meter


def test_the_meter_has_the_level_of_speech_and_of_the_noise_between():
    meter = measured((0.001, 60), (0.1, 40), (0.001, 20))
    assert -27 < meter.level_dbfs < -20 and -60.1 < meter.noise_dbfs < -56
    meter = measured((0.001, 60), (0.1, 40), (0.001, 200))
    assert meter.level_dbfs == pytest.approx(-60, abs=0.1) == meter.noise_dbfs


def test_digital_silence_has_a_level_too():
    meter = measured((0.0, 30))
    assert (meter.level_dbfs, meter.noise_dbfs, meter.clipping) == (-120.0, -120.0, 0.0)


def test_clipping_is_the_share_of_samples_at_full_scale():
    assert measured((1.0, 3000)).clipping == pytest.approx(1, abs=0.01)
    assert measured((0.9, 3000)).clipping == 0
    assert 0 < measured((1.0, 3), (0.5, 30)).clipping < 0.02


def test_a_minute_of_loud_sound_without_speech_is_a_warning():
    assert not measured((0.1, SPEECHLESS_FRAMES - 1)).warning
    meter = measured((0.1, SPEECHLESS_FRAMES))
    assert meter.warning == "loud sound (-20 dBFS), and no speech found in it for a minute"
    meter.on_speech()
    assert not meter.warning
    assert not measured((0.01, 2 * SPEECHLESS_FRAMES)).warning, "it is not loud"
    assert not measured(*[(0.1, 60), (0.001, 60)] * 60).warning, "every other second is quiet"
    assert measured((0.1, SPEECHLESS_FRAMES), (0.001, 60)).warning
    assert not measured((0.1, SPEECHLESS_FRAMES), (0.001, SPEECHLESS_FRAMES)).warning
