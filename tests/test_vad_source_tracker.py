"""One source: when it is quiet, and the progress reported to capture."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rig.vad import FakeEar, make_frame
from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES, AudioHead, AudioProgress, Job
from voicetap.settings import VadSettings, shortest_ring_s
from voicetap_capture.rate_control import RateControl
from voicetap_vad.level import SPEECHLESS_FRAMES
from voicetap_vad.segment_store import SegmentStore
from voicetap_vad.source_tracker import BATCH_FRAMES, PROGRESS_FRAMES, PROGRESS_S, STOPPING_PROGRESS_S, SourceTracker

FRAME_S = FRAME_NS / 1e9


class FakeCapture:
    """Sends a frame to its tracker every 32 ms."""

    def __init__(self, store: SegmentStore):
        self.tracker = SourceTracker("mic", "vad", store, FakeEar(), VadSettings())
        self.now_s = 100.0
        self.seq = 0
        self.head()

    def head(self, state: str = "live") -> None:
        counts = {"first_seq": 0, "next_seq": self.seq, "next_position": self.seq * FRAME_SAMPLES}
        self.tracker.on_head(AudioHead(source="mic", stream="a1", state=state, **counts), self.now_s)

    def play(self, percent: int, frames: int = 1, skipped: int = 0) -> list[object]:
        outputs = []
        for _ in range(frames):
            self.seq += skipped
            self.tracker.on_frame(make_frame(self.seq, bytes([percent]) * FRAME_BYTES))
            self.seq += 1
            self.now_s += FRAME_S
            if self.seq % 4 == 0:
                self.head()
            outputs += self.tracker.step(self.now_s)
        return outputs

    def wait(self, seconds: float) -> list[object]:
        self.now_s += seconds
        self.tracker.on_head(replace(self.tracker._head), self.now_s)
        return self.tracker.step(self.now_s)


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[FakeCapture]:
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    yield FakeCapture(store)
    store.close()


def progress(outputs: list[object]) -> list[int]:
    return [message.needed_seq for message in outputs if isinstance(message, AudioProgress)]


def test_it_is_quiet_from_the_end_of_speech_to_the_first_frame_of_the_next(capture):
    capture.play(0, 5)
    assert capture.tracker.is_quiet and capture.tracker.captured_ns == 4 * FRAME_NS
    capture.play(90)
    assert not capture.tracker.is_quiet, "an onset may have begun"
    capture.play(90, 10)
    assert not capture.tracker.is_quiet
    capture.play(0, VadSettings().endpoint_ms // 32 - 1)
    assert not capture.tracker.is_quiet, "until the endpoint is declared"
    capture.play(0, 1)
    assert capture.tracker.is_quiet


def test_it_is_not_quiet_while_a_frame_is_missing(capture):
    capture.play(0, 5)
    capture.play(0, skipped=1)
    assert not capture.tracker.is_quiet
    capture.tracker.on_frame(make_frame(5))
    assert not capture.tracker.is_quiet, "not processed yet"
    capture.tracker.step(capture.now_s)
    assert capture.tracker.is_quiet


def test_it_is_not_quiet_while_it_catches_up(capture):
    capture.play(0, 5)
    for _ in range(2 * BATCH_FRAMES):
        capture.tracker.on_frame(make_frame(capture.seq))
        capture.seq += 1
    capture.tracker.step(capture.now_s)
    assert not capture.tracker.is_quiet
    capture.play(0)
    assert capture.tracker.is_quiet


def test_progress_is_reported_by_sound_and_by_time(capture):
    assert len(progress(capture.play(0, 10 * PROGRESS_FRAMES))) == pytest.approx(10, abs=1)
    assert len(progress(capture.wait(PROGRESS_S))) == 1
    assert progress(capture.wait(PROGRESS_S / 2)) == []
    assert len(progress(capture.wait(PROGRESS_S / 2))) == 1


def test_after_a_lost_store_no_number_that_a_peer_has_is_reused(tmp_path):
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    tracker = SourceTracker("mic", "vad", store, FakeEar(), VadSettings())
    for number in (7, 9, 8):
        tracker.numbers.record(UtteranceId("mic", "a1", number))
    tracker.numbers.record_committed(UtteranceId("mic", "a1", 7))
    head = AudioHead(
        source="mic", stream="a1", first_seq=50, next_seq=90, next_position=90 * FRAME_SAMPLES, state="live"
    )
    *failed, gap = tracker.on_head(head, 100.0)
    assert [(entry.utterance_id.number, entry.reason) for entry in failed] == [(8, "cuts_lost"), (9, "cuts_lost")]
    assert (gap.utterance_id.number, gap.reason, gap.start_s, gap.end_s) == (10, "cuts_lost", 2.88, 2.88)
    assert [segment.number for segment in store.segments()] == [8, 9, 10] and store.load_checkpoint("a1").seq == 90
    store.close()


def test_loud_sound_without_speech_is_in_the_detail_until_speech_is_found(capture):
    loud = bytes([0, 32]) * (FRAME_BYTES // 2)
    for _ in range(SPEECHLESS_FRAMES):
        capture.tracker.on_frame(make_frame(capture.seq, loud))
        capture.seq += 1
        capture.tracker.step(capture.now_s)
    capture.head()
    state = capture.tracker.state()
    assert (state.state, state.level_dbfs, state.noise_dbfs, state.clipping) == ("live", -12.0, -12.0, 0.0)
    assert state.detail == capture.tracker.warning == "loud sound (-12 dBFS), and no speech found in it for a minute"
    capture.play(90, 10)
    assert capture.tracker.state().detail == ""


@pytest.mark.parametrize("utterance_s", [2, 5, 11, 25, 60])
def test_the_shortest_ring_is_enough_for_a_file_of_endless_speech(utterance_s, tmp_path):
    """Otherwise capture would wait for vad, and vad for the end of the utterance, for ever."""
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    settings = replace(VadSettings(), max_utterance_s=utterance_s, max_utterance_soft_s=min(12, utterance_s))
    tracker = SourceTracker("mic", "vad", store, FakeEar(), settings)
    slots = int(max(10, shortest_ring_s(utterance_s)) / FRAME_S)
    rate = RateControl(False, slots, 0, 0.0)
    seq, now_s, end_s = 0, 0.0, 30.0
    while seq < 3 * slots and now_s < end_s:
        now_s += 0.05
        head = {"first_seq": max(0, seq - slots), "next_seq": seq, "next_position": seq * FRAME_SAMPLES}
        tracker.on_head(AudioHead(source="mic", stream="a1", state="live", **head), now_s)
        for _ in range(rate.frames_due(seq, now_s)):
            tracker.on_frame(make_frame(seq, bytes([90, 0]) * FRAME_SAMPLES))
            seq += 1
        for message in tracker.step(now_s):
            if isinstance(message, AudioProgress):
                rate.on_progress(message.needed_seq)
            elif isinstance(message, Job):
                tracker.on_committed(message.utterance_id, message.utterance_id.number)
    store.close()
    assert seq >= 3 * slots


def test_a_capture_that_stops_gets_progress_soon(capture):
    capture.play(0, 5)
    capture.head("stopping")
    assert all(progress(capture.wait(STOPPING_PROGRESS_S * 1.01)) for _ in range(5))
