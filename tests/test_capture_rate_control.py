"""Rate control: real-time pacing, and back-pressure by the reader's progress."""

import pytest

from voicetap_capture.rate_control import BURST_FRAMES, RateControl


def test_realtime_reads_a_frame_every_32_ms():
    rate = RateControl(realtime=True, slots=1000, next_seq=100, now_s=5.0)
    assert rate.frames_due(100, 5.0) == 0
    assert rate.wait_s(100, 5.0) == pytest.approx(0.032)
    assert rate.frames_due(100, 5.033) == 1
    assert rate.frames_due(101, 5.033) == 0
    assert rate.frames_due(101, 5.1) == 2


def test_reading_stops_before_the_ring_overwrites_what_the_reader_needs():
    rate = RateControl(realtime=False, slots=80, next_seq=0, now_s=0)
    assert rate.frames_due(0, 0) == 40, "half the ring before the first progress message"
    assert rate.frames_due(40, 0) == 0
    assert rate.wait_s(40, 0) > 0
    rate.on_progress(needed_seq=30)
    assert rate.frames_due(40, 0) == 60
    assert rate.frames_due(100, 0) == 0


def test_one_step_reads_a_bounded_burst():
    assert RateControl(realtime=False, slots=10_000, next_seq=0, now_s=0).frames_due(0, 0) == BURST_FRAMES
