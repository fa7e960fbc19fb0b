"""vad as a real process between a capture, workers and a journal played by the test."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from rig.processes import output_of
from rig.vad import Neighbours, silent, spoken
from rig.workers import FakeWorker
from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, Failed, Final, Gap, Job, SpeechStopped, Status
from voicetap.settings import Settings
from voicetap_vad import silero
from voicetap_vad.segmenter import Ended, Scored, Segmenter
from voicetap_vad.silero import Silero

PAUSE_FRAMES = 40  # well above endpoint_ms


@pytest.fixture
def around(settings: Settings) -> Iterator[Neighbours]:
    with Neighbours(settings, workers=("w1", "w2")) as neighbours:
        yield neighbours


def number(n: int, stream: str = "a1") -> UtteranceId:
    return UtteranceId("mic", stream, n)


def sound_of(around: Neighbours, job: Job) -> bytes:
    """What the ring holds where the job says it was cut from."""
    frames = [frame for frame in around.ring.values() if job.start_position <= frame.position < job.end_position]
    return b"".join(frame.pcm for frame in frames)


def test_every_utterance_is_announced_cut_and_handed_out_once(around, spawn):
    spawn("voicetap_vad")
    around.hear(silent(PAUSE_FRAMES) + (spoken() + silent(PAUSE_FRAMES)) * 3)
    around.state = "ended"
    around.pump(around.drained, "drained")
    assert list(around.entries) == around.started == [number(1), number(2), number(3)]
    assert [job.pcm for job in around.all_jobs] == [sound_of(around, job) for job in around.all_jobs]
    assert {job.cut_reason for job in around.all_jobs} == {"silence"}
    assert len([event for event in around.events if isinstance(event, SpeechStopped)]) == 3
    around.pump(lambda: "drained" in states(around), "what became of the source was said")
    around.pump(lambda: around.needed_seq > around.next_seq - 200, "the ring is let go")


def states(around: Neighbours) -> set[str]:
    return {event.state for event in around.events if isinstance(event, Status)}


def test_dropped_frames_are_fetched_from_the_ring(around, spawn):
    spawn("voicetap_vad")
    around.pump(lambda: around.needed_seq >= 0, "vad listens")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES), publish=lambda seq: seq % 3 and not 30 <= seq < 60)
    around.state = "ended"  # and the last frames are known from the head alone
    around.pump(around.drained, "drained")
    (job,) = around.all_jobs
    assert job.pcm == sound_of(around, job)
    assert around.asked


def test_killed_in_an_utterance_it_goes_on_with_the_same_one(around, spawn):
    around.commits = False
    sound = silent(PAUSE_FRAMES) + spoken() + silent(PAUSE_FRAMES) + spoken()
    vad = spawn("voicetap_vad")
    around.hear(sound)
    around.pump(lambda: len(around.started) == 2 and around.all_jobs, "one utterance handed out, one open")
    first = around.all_jobs[0]
    vad.kill()
    vad.wait()
    around.hear(silent(PAUSE_FRAMES))
    around.commits = True
    around.state = "ended"
    spawn("voicetap_vad")
    around.pump(around.drained, "drained")
    assert around.started == [number(1), number(2)] == sorted(around.entries)
    again, second = around.all_jobs[-2:]
    assert (first.utterance_id, first.start_position, first.pcm) == (
        again.utterance_id,
        again.start_position,
        again.pcm,
    )
    assert second.pcm == sound_of(around, second)
    assert first.end_position <= second.start_position


def test_a_restart_cuts_as_if_it_had_never_happened(around, spawn):
    """Killed again and again, and the spans are those of a run that nobody disturbed."""
    sound = silent(50) + (spoken() + silent(PAUSE_FRAMES)) * 2
    vad = spawn("voicetap_vad")
    for start in range(0, len(sound), 110 * FRAME_BYTES):
        around.hear(sound[start : start + 110 * FRAME_BYTES])
        around.pump(lambda: decided_s(around) >= around.next_position / 16_000 - 1, "it follows")
        vad.kill()
        vad.wait()
        around.beat = None
        vad = spawn("voicetap_vad")
    around.state = "ended"
    around.pump(around.drained, "drained")
    spans = {(job.start_position, job.end_position) for job in around.all_jobs}
    assert around.started == sorted(around.entries) == [number(1), number(2)]
    assert sorted(spans) == undisturbed(sound, around.settings)


def undisturbed(sound: bytes, settings: Settings) -> list[tuple[int, int]]:
    model, segmenter = Silero(silero.load(silero.model_path())), Segmenter(settings.vad)
    spans = []
    for seq, probability in enumerate(model.probabilities(sound)):
        for event in segmenter.feed(Scored(seq, seq * FRAME_SAMPLES, probability)):
            if isinstance(event, Ended):
                spans.append((event.first_seq * FRAME_SAMPLES, (event.last_seq + 1) * FRAME_SAMPLES))
    return spans


def listening(around: Neighbours) -> bool:
    return any(state.stream for state in around.beat.sources)


def decided_s(around: Neighbours) -> float:
    return max((state.position_s for state in around.beat.sources), default=0.0) if around.beat else 0.0


def test_a_silent_worker_loses_its_job_to_the_other(around, spawn):
    around.workers["w1"].answers = around.workers["w2"].answers = False
    spawn("voicetap_vad", vad_lease_s=0.75)
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: around.all_jobs, "somebody has it")
    lazy, other = sorted(around.workers.values(), key=lambda worker: -len(worker.jobs))
    lazy.reports, other.answers = False, True
    around.pump(lambda: around.entries, "the other has done it")
    assert [job.attempt for job in lazy.jobs + other.jobs] == [0, 1]


def test_a_worker_that_goes_on_reporting_keeps_its_job(around, spawn):
    slow = around.workers["w1"] = FakeWorker("w1", answers=False)
    around.workers["w2"].reports = False
    spawn("voicetap_vad", vad_lease_s=0.75)
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: slow.jobs, "it has the job")
    until_s = time.monotonic() + 0.8
    around.pump(lambda: time.monotonic() > until_s, "four leases later")
    assert len(around.all_jobs) == 1


def test_an_utterance_that_workers_die_over_is_failed(around, spawn):
    worker = around.workers["w1"]
    around.workers["w2"].reports = worker.answers = False
    spawn("voicetap_vad", vad_max_attempts=2)
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    for boot_id in ("b2", "b3"):
        around.pump(lambda: worker.jobs, "it has the job")
        worker.jobs.clear()
        worker.holding.clear()
        worker.boot_id = boot_id
    around.pump(lambda: around.entries, "given up")
    (failed,) = around.entries.values()
    assert isinstance(failed, Failed) and (failed.reason, failed.attempt) == ("worker_lost", 2)


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_utterance(around, spawn):
    spawn("voicetap_vad")
    words = spoken()
    third = len(words) // FRAME_BYTES // 3 * FRAME_BYTES
    around.hear(silent(20) + words[:third])
    around.lose(3200)
    around.hear(words[third : 2 * third])
    around.lose(32_000)
    around.hear(words[2 * third :] + silent(PAUSE_FRAMES))
    around.state = "ended"
    around.pump(around.drained, "drained")
    assert {id_.number: type(entry) for id_, entry in around.entries.items()} == {1: Final, 2: Gap, 3: Gap, 4: Final}
    job, after = around.all_jobs
    assert (job.cut_reason, job.gap_s) == ("source_lost", 0.2)
    assert len(job.pcm) == 2 * (job.end_position - job.start_position)
    gap = around.entries[number(3)]
    assert (round(gap.end_s - gap.start_s, 6), gap.reason) == (2.0, "device_lost")
    assert after.start_position >= gap.end_s * 16_000


def test_a_lost_device_ends_the_utterance(around, spawn):
    spawn("voicetap_vad")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES])
    around.pump(lambda: around.started, "speech began")
    around.state = "lost"
    around.pump(lambda: around.entries, "ended")
    assert around.all_jobs[0].cut_reason == "source_lost"
    assert "lost" in states(around)
    around.state = "live"
    around.pump(lambda: "live" in states(around), "back")


def test_a_silent_capture_is_a_lost_source(around, spawn):
    spawn("voicetap_vad")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES])
    around.pump(lambda: around.started, "speech began")
    around.state = "dead"
    around.pump(lambda: around.entries, "ended")
    assert around.all_jobs[0].cut_reason == "source_lost"


def test_sigterm_delivers_the_open_utterance_when_capture_stops_too(around, spawn):
    vad = spawn("voicetap_vad")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES])
    around.pump(lambda: around.started, "speech began")
    vad.send_signal(signal.SIGTERM)
    around.state = "stopping"
    around.pump(lambda: vad.poll() is not None, "exit", within_s=5)
    assert vad.returncode == 0
    assert around.entries[number(1)].cut_reason == "source_ended"


def test_sigterm_alone_cuts_nothing(around, spawn, settings):
    vad = spawn("voicetap_vad")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES])
    around.pump(lambda: around.started, "speech began")
    told_s = time.monotonic()
    vad.send_signal(signal.SIGTERM)
    around.pump(lambda: vad.poll() is not None, "exit", within_s=5)
    assert (vad.returncode, around.entries) == (0, {})
    assert time.monotonic() - told_s < 2
    around.hear(spoken()[40 * FRAME_BYTES :] + silent(PAUSE_FRAMES))
    spawn("voicetap_vad")
    around.pump(lambda: around.entries, "its successor goes on")
    assert around.started == list(around.entries) == [number(1)]


def test_a_new_stream_ends_the_old_one_and_counts_anew(around, spawn):
    spawn("voicetap_vad")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES])
    around.pump(lambda: around.started, "speech began")
    around.new_ring("b2")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: len(around.entries) == 2, "both")
    assert list(around.entries) == [number(1), number(1, "b2")]
    assert around.all_jobs[0].cut_reason == "source_lost"


def test_what_the_ring_no_longer_holds_after_a_restart_is_failed_and_said(around, spawn):
    around.commits = False
    vad = spawn("voicetap_vad")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: around.all_jobs, "cut")
    vad.kill()
    vad.wait()
    around.hear(silent(400))
    around.forget_before(300)
    around.commits, around.state = True, "ended"
    spawn("voicetap_vad")
    around.pump(around.drained, "drained")
    failed, gap = around.entries[number(1)], around.entries[number(2)]
    assert (failed.reason, gap.reason) == ("overrun", "overrun")
    assert gap.end_s == 300 * FRAME_SAMPLES / 16_000


def test_a_damaged_cut_list_is_replaced(around, spawn, runtime_dir):
    (runtime_dir / "cuts-mic.sqlite").write_bytes(b"not a database at all" * 100)
    spawn("voicetap_vad")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: around.entries, "it works")
    assert "is damaged" in output_of("voicetap_vad", runtime_dir)


def test_a_lost_cut_list_gives_no_number_again(around, spawn, runtime_dir):
    vad = spawn("voicetap_vad")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: around.entries, "one utterance")
    vad.kill()
    vad.wait()
    for path in runtime_dir.glob("cuts-mic.sqlite-*"):
        path.unlink()
    (runtime_dir / "cuts-mic.sqlite").write_bytes(b"garbage" * 1000)
    vad = spawn("voicetap_vad")
    around.pump(lambda: around.beat.pid == vad.pid and listening(around), "vad listens again")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.pump(lambda: len(around.entries) == 3, "another utterance")
    assert around.started == [number(1), number(3)]
    assert list(around.entries) == [number(1), number(2), number(3)]
    assert around.entries[number(2)].reason == "cuts_lost", "something may be missing, and that is said"


def test_journals_head_is_enough_to_forget(around, spawn):
    around.acknowledges = False
    spawn("voicetap_vad")
    around.hear(silent(20) + spoken() + silent(PAUSE_FRAMES))
    around.state = "ended"
    around.pump(around.drained, "drained")
    assert len(around.entries) == 1


def test_frozen_until_its_queues_overflowed_it_misses_nothing(around, spawn):
    vad = spawn("voicetap_vad")
    around.pump(lambda: around.needed_seq >= 0, "vad listens")
    vad.send_signal(signal.SIGSTOP)
    around.hear((spoken() + silent(PAUSE_FRAMES)) * 20)
    around.hear(silent(3000))
    vad.send_signal(signal.SIGCONT)
    around.state = "ended"
    around.pump(around.drained, "drained")
    assert around.asked
    assert [job.pcm for job in around.all_jobs] == [sound_of(around, job) for job in around.all_jobs]
    assert around.started == sorted(around.entries) == [number(n) for n in range(1, 21)]


def test_a_bad_setting_is_one_line_and_exit_78(spawn: Callable[..., subprocess.Popen], runtime_dir):
    vad = spawn("voicetap_vad", vad_treshold=0.4)
    assert vad.wait(timeout=10) == 78
    assert "did you mean VOICETAP_VAD_THRESHOLD?" in output_of("voicetap_vad", runtime_dir)
