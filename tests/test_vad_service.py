"""vad as a real process; capture, workers and journal are run by the test."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from rig.processes import output_of
from rig.vad import VadPeers, make_frame, silent, spoken
from rig.workers import FakeWorker
from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, Failed, Final, Gap, Job, SpeechStopped, Status
from voicetap.settings import Settings
from voicetap_vad import silero
from voicetap_vad.frame_buffer import FrameScorer
from voicetap_vad.segmenter import ScoredFrame, Segmenter, UtteranceEnded
from voicetap_vad.silero import Silero

LEASE_S = 0.75  # about the shortest that is valid
PAUSE_FRAMES = 40  # well above endpoint_ms


@pytest.fixture
def peers(settings: Settings) -> Iterator[VadPeers]:
    with VadPeers(settings, workers=("w1", "w2")) as peers:
        yield peers


def number(n: int, stream: str = "a1") -> UtteranceId:
    return UtteranceId("mic", stream, n)


def sound_of(peers: VadPeers, job: Job) -> bytes:
    """The sound in the ring over the span of the job."""
    frames = [frame for frame in peers.ring.values() if job.start_position <= frame.position < job.end_position]
    return b"".join(frame.pcm for frame in frames)


def test_every_utterance_is_announced_cut_and_dispatched_once(peers, spawn):
    spawn("voicetap_vad")
    peers.play(silent(PAUSE_FRAMES) + (spoken() + silent(PAUSE_FRAMES)) * 3)
    peers.state = "ended"
    peers.run_until(peers.drained, "drained")
    assert list(peers.entries) == peers.started == [number(1), number(2), number(3)]
    assert [job.pcm for job in peers.final_jobs] == [sound_of(peers, job) for job in peers.final_jobs]
    assert {job.cut_reason for job in peers.final_jobs} == {"silence"}
    assert len([event for event in peers.events if isinstance(event, SpeechStopped)]) == 3
    peers.run_until(lambda: "drained" in states(peers), "the status of the source is published")
    peers.run_until(lambda: peers.needed_seq > peers.next_seq - 200, "the ring is released")


def states(peers: VadPeers) -> set[str]:
    return {event.state for event in peers.events if isinstance(event, Status)}


def test_dropped_frames_are_fetched_from_the_ring(peers, spawn):
    spawn("voicetap_vad")
    peers.run_until(lambda: peers.needed_seq >= 0, "vad is ready")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES), publish=lambda seq: seq % 3 and not 30 <= seq < 60)
    peers.state = "ended"  # the last frames are known only from the head
    peers.run_until(peers.drained, "drained")
    (job,) = peers.final_jobs
    assert job.pcm == sound_of(peers, job)
    assert peers.requests


def test_killed_in_an_utterance_it_continues_the_same_one(peers, spawn):
    peers.commits = False
    sound = silent(PAUSE_FRAMES) + spoken() + silent(PAUSE_FRAMES) + spoken()
    vad = spawn("voicetap_vad")
    peers.play(sound)
    peers.run_until(lambda: len(peers.started) == 2 and peers.final_jobs, "one utterance dispatched, one open")
    first = peers.final_jobs[0]
    vad.kill()
    vad.wait()
    peers.play(silent(PAUSE_FRAMES))
    peers.commits = True
    peers.state = "ended"
    spawn("voicetap_vad")
    peers.run_until(peers.drained, "drained")
    assert peers.started == [number(1), number(2)] == sorted(peers.entries)
    again, second = peers.final_jobs[-2:]
    assert (first.utterance_id, first.start_position, first.pcm) == (
        again.utterance_id,
        again.start_position,
        again.pcm,
    )
    assert second.pcm == sound_of(peers, second)
    assert first.end_position <= second.start_position


def test_restarts_do_not_change_the_segments(peers, spawn):
    """Killed again and again, the spans are those of an undisturbed run."""
    sound = silent(50) + (spoken() + silent(PAUSE_FRAMES)) * 2
    vad = spawn("voicetap_vad")
    for start in range(0, len(sound), 110 * FRAME_BYTES):
        peers.play(sound[start : start + 110 * FRAME_BYTES])
        peers.run_until(lambda: decided_s(peers) >= peers.next_position / 16_000 - 1, "vad catches up")
        vad.kill()
        vad.wait()
        peers.heartbeat = None
        vad = spawn("voicetap_vad")
    peers.state = "ended"
    peers.run_until(peers.drained, "drained")
    spans = {(job.start_position, job.end_position) for job in peers.final_jobs}
    assert peers.started == sorted(peers.entries) == [number(1), number(2)]
    assert sorted(spans) == undisturbed(sound, peers.settings)


def undisturbed(sound: bytes, settings: Settings) -> list[tuple[int, int]]:
    scorer, segmenter = FrameScorer(Silero(silero.load(silero.model_path()))), Segmenter(settings.vad)
    frames = [make_frame(seq, sound[seq * FRAME_BYTES :][:FRAME_BYTES]) for seq in range(len(sound) // FRAME_BYTES)]
    spans = []
    for seq, probability in scorer.probabilities(frames).items():
        for event in segmenter.on_frame(ScoredFrame(seq, seq * FRAME_SAMPLES, probability)):
            if isinstance(event, UtteranceEnded):
                spans.append((event.first_seq * FRAME_SAMPLES, (event.last_seq + 1) * FRAME_SAMPLES))
    return spans


def has_stream(peers: VadPeers) -> bool:
    return any(state.stream for state in peers.heartbeat.sources)


def decided_s(peers: VadPeers) -> float:
    return max((state.position_s for state in peers.heartbeat.sources), default=0.0) if peers.heartbeat else 0.0


def test_a_silent_worker_loses_its_job_to_the_other(peers, spawn):
    peers.workers["w1"].answers = peers.workers["w2"].answers = False
    spawn("voicetap_vad", vad_lease_s=LEASE_S)
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: peers.final_jobs, "a worker has it")
    silent_worker, other = sorted(peers.workers.values(), key=lambda worker: -len(worker.jobs))
    silent_worker.reports, other.answers = False, True
    peers.run_until(lambda: peers.entries, "the other has done it")
    assert [job.attempt for job in silent_worker.jobs + other.jobs] == [0, 1]


def test_a_worker_that_keeps_reporting_keeps_its_job(peers, spawn):
    slow = peers.workers["w1"] = FakeWorker("w1", answers=False)
    peers.workers["w2"].reports = False
    spawn("voicetap_vad", vad_lease_s=LEASE_S)
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: slow.jobs, "it has the job")
    until_s = time.monotonic() + 4 * LEASE_S
    peers.run_until(lambda: time.monotonic() > until_s, "four leases later")
    assert len(peers.final_jobs) == 1


def test_an_utterance_is_failed_after_too_many_lost_workers(peers, spawn):
    worker = peers.workers["w1"]
    peers.workers["w2"].reports = worker.answers = False
    spawn("voicetap_vad", vad_max_attempts=2)
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    for boot_id in ("b2", "b3"):
        peers.run_until(lambda: worker.jobs, "it has the job")
        worker.jobs.clear()
        worker.holding.clear()
        worker.boot_id = boot_id
    peers.run_until(lambda: peers.entries, "failed")
    (failed,) = peers.entries.values()
    assert isinstance(failed, Failed) and (failed.reason, failed.attempt) == ("worker_lost", 2)


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_utterance(peers, spawn):
    spawn("voicetap_vad")
    words = spoken()
    third = len(words) // FRAME_BYTES // 3 * FRAME_BYTES
    peers.play(silent(20) + words[:third])
    peers.lose_sound(3200)
    peers.play(words[third : 2 * third])
    peers.lose_sound(32_000)
    peers.play(words[2 * third :] + silent(PAUSE_FRAMES))
    peers.state = "ended"
    peers.run_until(peers.drained, "drained")
    assert {id_.number: type(entry) for id_, entry in peers.entries.items()} == {1: Final, 2: Gap, 3: Gap, 4: Final}
    job, after = peers.final_jobs
    assert (job.cut_reason, job.gap_s) == ("source_lost", 0.2)
    assert len(job.pcm) == 2 * (job.end_position - job.start_position)
    gap = peers.entries[number(3)]
    assert (round(gap.end_s - gap.start_s, 6), gap.reason) == (2.0, "device_lost")
    assert after.start_position >= gap.end_s * 16_000


def test_a_lost_device_ends_the_utterance(peers, spawn):
    spawn("voicetap_vad")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES])
    peers.run_until(lambda: peers.started, "speech began")
    peers.state = "lost"
    peers.run_until(lambda: peers.entries, "ended")
    assert peers.final_jobs[0].cut_reason == "source_lost"
    assert "lost" in states(peers)
    peers.state = "live"
    peers.run_until(lambda: "live" in states(peers), "back")


def test_a_silent_capture_is_a_lost_source(peers, spawn):
    spawn("voicetap_vad")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES])
    peers.run_until(lambda: peers.started, "speech began")
    peers.state = "dead"
    peers.run_until(lambda: peers.entries, "ended")
    assert peers.final_jobs[0].cut_reason == "source_lost"


def test_sigterm_delivers_the_open_utterance_when_capture_stops_too(peers, spawn):
    vad = spawn("voicetap_vad")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES])
    peers.run_until(lambda: peers.started, "speech began")
    vad.send_signal(signal.SIGTERM)
    peers.state = "stopping"
    peers.run_until(lambda: vad.poll() is not None, "exit", within_s=5)
    assert vad.returncode == 0
    assert peers.entries[number(1)].cut_reason == "source_ended"


def test_sigterm_alone_cuts_nothing(peers, spawn, settings):
    vad = spawn("voicetap_vad")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES])
    peers.run_until(lambda: peers.started, "speech began")
    terminated_s = time.monotonic()
    vad.send_signal(signal.SIGTERM)
    peers.run_until(lambda: vad.poll() is not None, "exit", within_s=5)
    assert (vad.returncode, peers.entries) == (0, {})
    assert time.monotonic() - terminated_s < 2
    peers.play(spoken()[40 * FRAME_BYTES :] + silent(PAUSE_FRAMES))
    spawn("voicetap_vad")
    peers.run_until(lambda: peers.entries, "its successor continues")
    assert peers.started == list(peers.entries) == [number(1)]


def test_a_new_stream_ends_the_old_one_and_numbers_from_one(peers, spawn):
    spawn("voicetap_vad")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES])
    peers.run_until(lambda: peers.started, "speech began")
    peers.start_stream("b2")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: len(peers.entries) == 2, "both")
    assert list(peers.entries) == [number(1), number(1, "b2")]
    assert peers.final_jobs[0].cut_reason == "source_lost"


def test_what_the_ring_has_lost_after_a_restart_is_failed_and_reported(peers, spawn):
    peers.commits = False
    vad = spawn("voicetap_vad")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: peers.final_jobs, "cut")
    vad.kill()
    vad.wait()
    peers.play(silent(400))
    peers.overwrite_before(300)
    peers.commits, peers.state = True, "ended"
    spawn("voicetap_vad")
    peers.run_until(peers.drained, "drained")
    failed, gap = peers.entries[number(1)], peers.entries[number(2)]
    assert (failed.reason, gap.reason) == ("overrun", "overrun")
    assert gap.end_s == 300 * FRAME_SAMPLES / 16_000


def test_a_damaged_segment_store_is_replaced(peers, spawn, runtime_dir):
    (runtime_dir / "cuts-mic.sqlite").write_bytes(b"not a database at all" * 100)
    spawn("voicetap_vad")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: peers.entries, "it works")
    assert "is damaged" in output_of("voicetap_vad", runtime_dir)


def test_after_a_lost_segment_store_no_number_is_reused(peers, spawn, runtime_dir):
    vad = spawn("voicetap_vad")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: peers.entries, "one utterance")
    vad.kill()
    vad.wait()
    for path in runtime_dir.glob("cuts-mic.sqlite-*"):
        path.unlink()
    (runtime_dir / "cuts-mic.sqlite").write_bytes(b"garbage" * 1000)
    vad = spawn("voicetap_vad")
    peers.run_until(lambda: peers.heartbeat.pid == vad.pid and has_stream(peers), "vad is ready again")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.run_until(lambda: len(peers.entries) == 3, "another utterance")
    assert peers.started == [number(1), number(3)]
    assert list(peers.entries) == [number(1), number(2), number(3)]
    assert peers.entries[number(2)].reason == "cuts_lost", "something may be missing, which is reported"


def test_loud_sound_without_speech_is_reported(peers, spawn):
    """Such as a stream of another format."""
    spawn("voicetap_vad")
    noise = random.Random(1).randbytes(25 * FRAME_BYTES)
    peers.run_until(lambda: peers.needed_seq >= 0, "vad is ready")
    peers.play(noise * 80)
    peers.run_until(lambda: "degraded" in states(peers), "it is reported")
    (event,) = (event for event in peers.events if isinstance(event, Status) and event.state == "degraded")
    assert event.detail.startswith("loud sound (-5 dBFS)")
    assert peers.heartbeat.sources[0].state == "live"


def test_journals_head_is_enough_to_drop_what_is_committed(peers, spawn):
    peers.acknowledges = False
    spawn("voicetap_vad")
    peers.play(silent(20) + spoken() + silent(PAUSE_FRAMES))
    peers.state = "ended"
    peers.run_until(peers.drained, "drained")
    assert len(peers.entries) == 1


def test_frozen_until_its_queues_overflow_it_misses_nothing(peers, spawn):
    vad = spawn("voicetap_vad")
    peers.run_until(lambda: peers.needed_seq >= 0, "vad is ready")
    vad.send_signal(signal.SIGSTOP)
    peers.play((spoken() + silent(PAUSE_FRAMES)) * 20)
    peers.play(silent(3000))
    vad.send_signal(signal.SIGCONT)
    peers.state = "ended"
    peers.run_until(peers.drained, "drained")
    assert peers.requests
    assert [job.pcm for job in peers.final_jobs] == [sound_of(peers, job) for job in peers.final_jobs]
    assert peers.started == sorted(peers.entries) == [number(n) for n in range(1, 21)]


def test_a_bad_setting_is_one_line_and_exit_78(spawn: Callable[..., subprocess.Popen], runtime_dir):
    vad = spawn("voicetap_vad", vad_treshold=0.4)
    assert vad.wait(timeout=10) == 78
    assert "did you mean VOICETAP_VAD_THRESHOLD?" in output_of("voicetap_vad", runtime_dir)
