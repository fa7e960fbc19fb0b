"""One source as vad hears it: when it is quiet, and what capture is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rig.vad import make_frame
from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES, AudioHead, AudioProgress
from voicetap.settings import VadSettings
from voicetap_vad.segment_store import SegmentStore
from voicetap_vad.source_tracker import BATCH_FRAMES, PROGRESS_FRAMES, PROGRESS_S, STOPPING_PROGRESS_S, SourceTracker

FRAME_S = FRAME_NS / 1e9


class Ear:
    """In place of the model: the first byte of a frame is its probability, in percent."""

    def reset(self) -> None:
        self.fresh = True

    def probabilities(self, pcm: bytes) -> list[float]:
        return [percent / 100 for percent in pcm[::FRAME_BYTES]]


class Story:
    """A tracker, and a capture that says a frame every 32 ms."""

    def __init__(self, store: SegmentStore):
        self.tracker = SourceTracker("mic", "vad", store, Ear(), VadSettings())
        self.now_s = 100.0
        self.seq = 0
        self.head()

    def head(self, state: str = "live") -> None:
        counts = {"first_seq": 0, "next_seq": self.seq, "next_position": self.seq * FRAME_SAMPLES}
        self.tracker.on_head(AudioHead(source="mic", stream="a1", state=state, **counts), self.now_s)

    def hear(self, percent: int, frames: int = 1, skipped: int = 0) -> list[object]:
        said = []
        for _ in range(frames):
            self.seq += skipped
            self.tracker.on_frame(make_frame(self.seq, bytes([percent]) * FRAME_BYTES))
            self.seq += 1
            self.now_s += FRAME_S
            if self.seq % 4 == 0:
                self.head()
            said += self.tracker.step(self.now_s)
        return said

    def wait(self, seconds: float) -> list[object]:
        self.now_s += seconds
        self.tracker.on_head(replace(self.tracker._head), self.now_s)
        return self.tracker.step(self.now_s)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    yield Story(store)
    store.close()


def progress(said: list[object]) -> list[int]:
    return [message.needed_seq for message in said if isinstance(message, AudioProgress)]


def test_it_is_quiet_from_the_end_of_speech_to_the_first_frame_of_the_next(story):
    story.hear(0, 5)
    assert story.tracker.is_quiet and story.tracker.captured_ns == 4 * FRAME_NS
    story.hear(90)
    assert not story.tracker.is_quiet, "an onset may have begun"
    story.hear(90, 10)
    assert not story.tracker.is_quiet
    story.hear(0, VadSettings().endpoint_ms // 32 - 1)
    assert not story.tracker.is_quiet, "until the endpoint is declared"
    story.hear(0, 1)
    assert story.tracker.is_quiet


def test_it_is_not_quiet_while_a_frame_is_missing(story):
    story.hear(0, 5)
    story.hear(0, skipped=1)
    assert not story.tracker.is_quiet
    story.tracker.on_frame(make_frame(5))
    assert not story.tracker.is_quiet, "not heard yet"
    story.tracker.step(story.now_s)
    assert story.tracker.is_quiet


def test_it_is_not_quiet_while_it_catches_up(story):
    story.hear(0, 5)
    for _ in range(2 * BATCH_FRAMES):
        story.tracker.on_frame(make_frame(story.seq))
        story.seq += 1
    story.tracker.step(story.now_s)
    assert not story.tracker.is_quiet
    story.hear(0)
    assert story.tracker.is_quiet


def test_capture_is_told_how_far_we_are_by_sound_and_by_time(story):
    assert len(progress(story.hear(0, 10 * PROGRESS_FRAMES))) == pytest.approx(10, abs=1)
    assert len(progress(story.wait(PROGRESS_S))) == 1
    assert progress(story.wait(PROGRESS_S / 2)) == []
    assert len(progress(story.wait(PROGRESS_S / 2))) == 1


def test_after_a_lost_list_no_number_that_anybody_has_is_given_again(tmp_path):
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    tracker = SourceTracker("mic", "vad", store, Ear(), VadSettings())
    for known in (7, 9, 8):
        tracker.numbers.record(UtteranceId("mic", "a1", known))
    tracker.numbers.record_committed(UtteranceId("mic", "a1", 7))
    head = AudioHead(
        source="mic", stream="a1", first_seq=50, next_seq=90, next_position=90 * FRAME_SAMPLES, state="live"
    )
    *failed, gap = tracker.on_head(head, 100.0)
    assert [(entry.utterance_id.number, entry.reason) for entry in failed] == [(8, "cuts_lost"), (9, "cuts_lost")]
    assert (gap.utterance_id.number, gap.reason, gap.start_s, gap.end_s) == (10, "cuts_lost", 2.88, 2.88)
    assert [segment.number for segment in store.segments()] == [8, 9, 10] and store.load_checkpoint("a1").seq == 90
    store.close()


def test_a_capture_that_stops_is_told_soon(story):
    story.hear(0, 5)
    story.head("stopping")
    assert all(progress(story.wait(STOPPING_PROGRESS_S * 1.01)) for _ in range(5))
