"""A stream killed anywhere produces what an undisturbed one does: the same numbers and spans, each once."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rig.vad import FakeEar, make_frame
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, AudioFrame, AudioHead, Failed, Final, Gap, Job, SpeechStarted
from voicetap.settings import VadSettings
from voicetap_vad.segment_store import Checkpoint, SegmentStore
from voicetap_vad.stream import Output, Stream

SETTINGS = VadSettings(max_utterance_soft_s=1.5, max_utterance_s=3.0)
EFFORT = effort(max_examples=40)
ENTRIES = (Job, Final, Failed, Gap)


def ring_of(runs: list[tuple[int, int, int]]) -> dict[int, AudioFrame]:
    """A ring of runs of (percent of speech, frames, samples lost before them)."""
    ring, position = {}, 0
    for percent, count, lost in runs:
        position += lost
        for _ in range(count):
            seq = len(ring)
            ring[seq] = make_frame(seq, bytes([percent, seq % 256]) * (FRAME_BYTES // 2), position)
            position += FRAME_SAMPLES
    return ring


def head_of(ring: dict[int, AudioFrame]) -> AudioHead:
    first, last = min(ring), ring[max(ring)]
    end = last.position + FRAME_SAMPLES
    return AudioHead(source="mic", stream="a1", first_seq=first, next_seq=last.seq + 1, next_position=end, state="live")


def live(
    ring: dict[int, AudioFrame], directory: str, frames: int | None = None, ear: FakeEar | None = None
) -> list[Output]:
    """One process: it is killed after `frames` frames, or processes all of them and the source ends."""
    store = SegmentStore(Path(directory, "cuts-mic.sqlite"))
    head = head_of(ring)
    checkpoint = store.load_checkpoint("a1") or Checkpoint("a1", head.first_seq, 0)
    stream = Stream(head, checkpoint, store, ear or FakeEar(), SETTINGS)
    wanted = range(stream.reorder_buffer.next_seq, head.next_seq)
    outputs = [message for seq in wanted[:frames] for message in stream.on_frames([ring[seq]])]
    if frames is None:
        outputs += stream.close("source_ended")
    store.close()
    return outputs


def by_number(outputs: list[Output]) -> dict[int, tuple]:
    """What journal would store; a job sent again must be the same job."""
    entries = {}
    for message in outputs:
        if isinstance(message, ENTRIES):
            span = _span(message)
            assert entries.setdefault(message.utterance_id.number, span) == span
    return entries


def _span(message: Job | Final | Failed | Gap) -> tuple:
    if isinstance(message, Job):
        return "job", message.start_position, message.end_position, message.cut_reason, message.pcm, message.speech
    return type(message).__name__, message.start_s, message.end_s


runs = st.lists(
    st.tuples(
        st.sampled_from([0, 20, 40, 60, 95]),
        st.integers(1, 50),
        st.one_of(st.just(0), st.just(0), st.integers(0, 20_000)),
    ),
    min_size=1,
    max_size=20,
)


def test_a_kill_at_any_moment_changes_nothing():
    beyond_the_hard_limit = [(95, 72, 0), (40, 5, 0), (95, 18, 0), (0, 20, 0)]
    ring = ring_of([(0, 50, 0), (95, 20, 0), (0, 45, 0), *beyond_the_hard_limit, (95, 9, 3000), (95, 9, 20_000)])
    with tempfile.TemporaryDirectory() as directory:
        undisturbed = live(ring, directory)
    assert {entry[0] for entry in by_number(undisturbed).values()} == {"job", "Gap"}
    for frames in range(1, len(ring), 2):
        with tempfile.TemporaryDirectory() as directory:
            outputs = live(ring, directory, frames) + live(ring, directory)
        assert by_number(outputs) == by_number(undisturbed), f"killed after {frames} frames"
        assert starts(outputs) == starts(undisturbed)


def starts(outputs: list[Output]) -> list[int]:
    return [message.utterance_id.number for message in outputs if isinstance(message, SpeechStarted)]


@EFFORT
@given(runs, st.lists(st.integers(0, 400), max_size=6))
def test_kills_change_nothing(runs, lives):
    ring = ring_of(runs)
    with tempfile.TemporaryDirectory() as directory:
        undisturbed = live(ring, directory)
    with tempfile.TemporaryDirectory() as directory:
        disturbed = [message for frames in lives for message in live(ring, directory, frames)] + live(ring, directory)
    assert by_number(disturbed) == by_number(undisturbed)
    assert starts(disturbed) == starts(undisturbed)


class GainRecorder(FakeEar):
    """Records the gains of all frames, in order."""

    def __init__(self):
        self.gains: list[list[float]] = []

    def probabilities(self, pcm: bytes, gains: np.ndarray) -> list[float]:
        self.gains += gains.tolist()
        return super().probabilities(pcm, gains)


def test_after_a_restart_the_model_is_fed_the_same():
    """Speech soon after a loud sound: the envelope of that sound is the same after a kill."""
    loud, quiet, spoken = (bytes([percent, high]) * (FRAME_BYTES // 2) for percent, high in ((0, 64), (0, 0), (95, 0)))
    sound = [loud] * 20 + [quiet] * 200 + [spoken] * 20 + [quiet] * 60
    ring = {seq: make_frame(seq, pcm) for seq, pcm in enumerate(sound)}
    undisturbed, successor = GainRecorder(), GainRecorder()
    with tempfile.TemporaryDirectory() as directory:
        live(ring, directory, ear=undisturbed)
    with tempfile.TemporaryDirectory() as directory:
        live(ring, directory, 230)
        live(ring, directory, ear=successor)
    assert len(successor.gains) < 200, "it did resume at a checkpoint"
    assert successor.gains == undisturbed.gains[-len(successor.gains) :]
    assert successor.gains[0] < successor.gains[50], "the sound was not forgotten yet"


@EFFORT
@given(runs)
def test_numbers_have_no_hole_and_each_start_one_end(runs):
    with tempfile.TemporaryDirectory() as directory:
        outputs = live(ring_of(runs), directory)
    entries = by_number(outputs)
    assert sorted(entries) == list(range(1, len(entries) + 1))
    assert starts(outputs) == [number for number, entry in sorted(entries.items()) if entry[0] != "Gap"]


@EFFORT
@given(runs)
def test_every_lost_sample_is_in_a_gap_and_every_job_is_on_the_clock(runs):
    ring = ring_of(runs)
    with tempfile.TemporaryDirectory() as directory:
        outputs = live(ring, directory)
    lost = head_of(ring).next_position - len(ring) * FRAME_SAMPLES
    gaps = [message for message in outputs if isinstance(message, Gap)]
    assert round(sum(gap.end_s - gap.start_s for gap in gaps) * 16_000) == lost
    jobs = [message for message in outputs if isinstance(message, Job)]
    assert all(len(job.pcm) == 2 * (job.end_position - job.start_position) for job in jobs)
    assert all(spoken_frames(job) == expected_frames(job) for job in jobs)


def spoken_frames(job: Job) -> set[int]:
    """The frames whose bit is set in a job's `speech`."""
    frames = -(-len(job.pcm) // FRAME_BYTES)
    assert len(job.speech) == -(-frames // 8)
    return {at for at in range(8 * len(job.speech)) if job.speech[at // 8] >> at % 8 & 1}


def expected_frames(job: Job) -> set[int]:
    """The frames of `pcm` that are for the greater part of frames that FakeEar takes for speech."""
    percents = np.frombuffer(job.pcm, np.uint8)[::2]
    middles = np.arange(FRAME_SAMPLES // 2, len(percents), FRAME_SAMPLES)
    return set(np.flatnonzero(percents[middles] >= 50).tolist())


def test_a_job_of_an_open_utterance_says_where_speech_is(tmp_path):
    ring = ring_of([(0, 20, 0), (95, 20, 0), (20, 4, 0), (95, 10, 0)])
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    stream = Stream(head_of(ring), Checkpoint("a1", 0, 0), store, FakeEar(), SETTINGS)
    for frame in ring.values():
        stream.on_frames([frame])
    job = stream.partial_job()
    store.close()
    assert spoken_frames(job) == expected_frames(job) != set()


@EFFORT
@given(runs, st.integers(1, 300), st.integers(1, 300))
def test_what_the_ring_has_lost_meanwhile_is_failed_or_a_gap(runs, frames, lost_frames):
    ring = ring_of(runs)
    kept = {seq: frame for seq, frame in ring.items() if seq >= lost_frames} or {max(ring): ring[max(ring)]}
    with tempfile.TemporaryDirectory() as directory:
        outputs = live(ring, directory, frames) + live(kept, directory)
    numbers = {message.utterance_id.number for message in outputs if isinstance(message, ENTRIES)}
    assert set(starts(outputs)) <= numbers == set(range(1, len(numbers) + 1))


def test_an_abandoned_stream_reports_what_is_missing(tmp_path):
    ring = ring_of([(0, 20, 0), (95, 40, 0)])
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    stream = Stream(head_of(ring), Checkpoint("a1", 0, 0), store, FakeEar(), SETTINGS)
    for seq in range(50):
        stream.on_frames([ring[seq]])
    outputs = stream.abandon(head_of(ring).next_position, "overrun")
    store.close()
    job, gap = (message for message in outputs if isinstance(message, ENTRIES))
    assert (job.cut_reason, job.end_position) == ("source_lost", 50 * FRAME_SAMPLES)
    assert (gap.reason, gap.start_s, gap.end_s) == ("overrun", 1.6, 1.92)


def test_a_segment_whose_end_cannot_be_fetched_again_is_failed(tmp_path):
    """Killed, and the ring was lost before all was fetched again: half an utterance is not sent as a whole one."""
    ring = ring_of([(0, 20, 0), (95, 40, 0), (0, 40, 0)])
    (job,) = (message for message in live(ring, str(tmp_path), frames=99) if isinstance(message, Job))
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    stream = Stream(head_of(ring), store.load_checkpoint("a1"), store, FakeEar(), SETTINGS)
    for seq in range(40):
        stream.on_frames([ring[seq]])
    failed, *_ = stream.abandon(head_of(ring).next_position, "overrun")
    store.close()
    assert (failed.utterance_id, failed.reason) == (job.utterance_id, "overrun")


def test_frames_overwritten_before_a_reported_gap_are_reported_once(tmp_path):
    ring = ring_of([(0, 20, 0), (95, 40, 0), (95, 40, 3000)])
    (started, gap) = (message for message in live(ring, str(tmp_path), 70) if isinstance(message, SpeechStarted | Gap))
    kept = {seq: frame for seq, frame in ring.items() if seq >= 50}
    failed, overrun = (message for message in live(kept, str(tmp_path), 1) if isinstance(message, ENTRIES))
    assert (failed.utterance_id, failed.reason) == (started.utterance_id, "overrun")
    assert (overrun.reason, overrun.start_s, overrun.end_s) == ("overrun", started.start_s, 50 * FRAME_SAMPLES / 16_000)
    again = [message.utterance_id.number for message in live(kept, str(tmp_path)) if isinstance(message, Gap)]
    assert again == [], "neither is the device's gap"


def test_an_utterance_that_was_cut_off_and_continues_loses_no_speech():
    """capture froze: wherever it did, every frame of speech is in a job, even if too few for an onset remain."""
    ring = ring_of([(0, 20, 0), (95, 25, 0), (0, 40, 0)])
    for frozen_at in range(24, 50):
        with tempfile.TemporaryDirectory() as directory:
            outputs = freeze(ring, directory, frozen_at) + live(ring, directory)
        decoded = b"".join(message.pcm for message in outputs if isinstance(message, Job))
        spoken = b"".join(ring[seq].pcm for seq in range(20, 45))
        assert spoken in decoded, f"frozen after {frozen_at} frames"


def freeze(ring: dict[int, AudioFrame], directory: str, frames: int) -> list[Output]:
    """One process: after `frames` frames none arrives for so long that it ends the utterance; then it is killed."""
    store = SegmentStore(Path(directory, "cuts-mic.sqlite"))
    stream = Stream(head_of(ring), Checkpoint("a1", 0, 0), store, FakeEar(), SETTINGS)
    outputs = [message for seq in range(frames) for message in stream.on_frames([ring[seq]])]
    outputs += stream.close("source_lost")
    store.close()
    return outputs


def test_silence_advances_the_checkpoint_without_a_pre_roll_too(tmp_path):
    """Otherwise a source that waits for vad would wait for ever once the silence is longer than the ring."""
    ring = ring_of([(0, 200, 0)])
    store = SegmentStore(tmp_path / "cuts-mic.sqlite")
    settings = replace(SETTINGS, pre_roll_ms=0, onset_lookback_ms=0)
    stream = Stream(head_of(ring), Checkpoint("a1", 0, 0), store, FakeEar(), settings)
    for frame in ring.values():
        stream.on_frames([frame])
    needed_seq = stream.needed_seq()
    store.close()
    assert needed_seq > 100
