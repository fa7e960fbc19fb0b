"""Frames from blocks of any size, and the account of what was lost."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.blocks import SIZES, blocks_of
from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES
from voicetap_capture.framer import TOLERANCE_NS, WINDOW_NS, DropDetector, Framer

SECOND_NS = 1_000_000_000


def framer(last=None) -> Framer:
    return Framer("mic", "ab12", last)


@given(samples=st.integers(0, 6000), sizes=SIZES)
def test_frames_do_not_depend_on_the_blocks(samples, sizes):
    pcm = array("h", [index % 30000 for index in range(samples)]).tobytes()
    numbered = framer()
    frames = [frame for block in blocks_of(pcm, sizes) for frame in numbered.add(block, 0, 0)]
    frames += numbered.flush()
    assert b"".join(frame.pcm for frame in frames) == pcm + bytes(-len(pcm) % FRAME_BYTES)
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert [frame.position for frame in frames] == [seq * FRAME_SAMPLES for seq in range(len(frames))]


def test_a_frame_is_as_old_as_the_sound_that_came_after_it():
    frames = list(framer().add(bytes(3 * FRAME_BYTES), 10 * SECOND_NS, 20 * SECOND_NS))
    assert [10 * SECOND_NS - frame.captured_ns for frame in frames] == [2 * FRAME_NS, FRAME_NS, 0]
    assert [20 * SECOND_NS - frame.wall_ns for frame in frames] == [2 * FRAME_NS, FRAME_NS, 0]


def test_lost_audio_is_a_jump_in_position_alone():
    numbered = framer()
    [first] = numbered.add(bytes(FRAME_BYTES), SECOND_NS, 0)
    missing = numbered.skip_gap_before(bytes(FRAME_BYTES), 3 * SECOND_NS + FRAME_NS, "device_lost")
    second, third = numbered.add(bytes(2 * FRAME_BYTES), 3 * SECOND_NS + 2 * FRAME_NS, 0)
    assert missing == 32_000
    assert second.seq == first.seq + 1
    assert second.position == first.position + FRAME_SAMPLES + 32_000
    assert (second.gap_reason, third.gap_reason) == ("device_lost", "")


def test_a_flushed_frame_does_not_lengthen_the_gap_after_it():
    numbered = framer()
    assert [] == list(numbered.add(bytes(FRAME_BYTES // 2), SECOND_NS, 0))
    [flushed] = numbered.flush()
    assert flushed.captured_ns == SECOND_NS + FRAME_NS // 2
    assert numbered.skip_gap_before(b"", 2 * SECOND_NS, "device_lost") == 16_000 - FRAME_SAMPLES // 2


def test_a_successor_continues_after_the_last_frame():
    [last] = framer().add(bytes(FRAME_BYTES), SECOND_NS, 0)
    [next_frame] = framer(last).add(bytes(FRAME_BYTES), SECOND_NS, 0)
    assert (next_frame.seq, next_frame.position) == (1, FRAME_SAMPLES)


def test_audio_that_arrived_early_is_no_gap():
    [last] = framer().add(bytes(FRAME_BYTES), SECOND_NS, 0)
    assert framer(last).skip_gap_before(bytes(FRAME_BYTES), SECOND_NS, "capture_restart") == 0


def drops(detector: DropDetector, arrivals_s: list[float]) -> list[int]:
    """The losses reported when one frame arrives at each of these times."""
    found = [detector.update(FRAME_SAMPLES, int(arrival_s * SECOND_NS)) for arrival_s in arrivals_s]
    return [missing for missing in found if missing]


def test_samples_that_never_arrive_are_detected():
    arrivals_s = [n * 0.032 for n in range(100)] + [n * 0.032 + 0.5 for n in range(100, 300)]
    assert drops(DropDetector(), arrivals_s) == [pytest.approx(8000, abs=2)]


def test_drift_jitter_and_a_late_burst_are_no_loss():
    drifting = [n * 0.032 * 1.0005 + (n % 7) * 0.01 for n in range(3000)]
    assert drops(DropDetector(), drifting) == []
    burst = [n * 0.032 for n in range(100)] + [100 * 0.032 + 2.0] * 62 + [n * 0.032 for n in range(163, 400)]
    assert drops(DropDetector(), burst) == []
    assert TOLERANCE_NS < WINDOW_NS


def losing(share: float, seconds: float) -> list[float]:
    """When frames arrive from a device of 1.0002 times the host's speed that loses this share of them, evenly."""
    arrivals_s, lost = [], 0.0
    for n in range(int(seconds / 0.032)):
        lost += share
        if lost >= 1:
            lost -= 1
        else:
            arrivals_s.append(n * 0.032 * 1.0002 + (n % 5) * 0.004)
    return arrivals_s


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05, 0.09, 0.3])
def test_a_steady_loss_is_detected(share):
    lost = drops(DropDetector(), losing(share, 120))
    assert sum(lost) == pytest.approx(120 * share * 16_000, abs=(0.2 + 2.5 * share) * 16_000)


def test_a_latency_that_changes_now_and_then_is_no_loss():
    arrivals_s = [n * 0.032 * 1.0009 + 0.15 * (n > 1000) - 0.1 * (n > 4000) + 0.15 * (n > 8000) for n in range(12_000)]
    assert drops(DropDetector(), arrivals_s) == []
