"""transcribe as a real process, between a vad and a journal played by the test."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rig import tinywhisper
from rig.processes import eventually, output_of
from voicetap import links
from voicetap.bus import Bus
from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Failed, Final, Heartbeat, Hypothesis, Job, WorkerReport
from voicetap.settings import Settings

MODULE = "voicetap_transcribe"
NOWHERE = "http://127.0.0.1:9"  # nothing listens on the discard port


class FakeNeighbours:
    """vad and journal of a worker. Keeps all received messages; each wait for one drops those of its kind first."""

    def __init__(self, settings: Settings):
        self._vad, self._journal = Bus("vad", settings), Bus("journal", settings)

    def __enter__(self) -> "FakeNeighbours":
        self._vad.__enter__()
        self._journal.__enter__()
        self._jobs = self._vad.sender(links.JOBS.of("transcribe-1"))
        self._workers = self._vad.receiver(links.WORKERS)
        self._heartbeat = self._vad.receiver(links.HEARTBEAT.of("transcribe-1"))
        self._results = self._journal.receiver(links.RESULTS)
        self._commits = self._journal.sender(links.COMMITS)
        self.reports: list[WorkerReport] = []
        self.hypotheses: list[Hypothesis] = []
        self.entries: list[Final | Failed] = []
        self.beats: list[Heartbeat] = []
        return self

    def __exit__(self, *exc: object) -> None:
        self._journal.__exit__()
        self._vad.__exit__()

    def poll(self) -> None:
        for message in self._workers:
            (self.hypotheses if isinstance(message, Hypothesis) else self.reports).append(message)
        self.entries += self._results
        self.beats += self._heartbeat

    def wait_for(self, condition: Callable[[], object], what: str, within_s: float = 20.0) -> object:
        return eventually(lambda: self.poll() or condition(), within_s, what)

    def wait_for_state(self, state: str) -> WorkerReport:
        """The first report from now on with this state."""
        self.reports.clear()
        return self.wait_for(lambda: next((r for r in self.reports if r.state == state), None), f"state {state}")

    def wait_for_entry(self) -> Final | Failed:
        self.entries.clear()
        return self.wait_for(lambda: self.entries and self.entries[0], "an entry")

    def wait_for_beat(self, wanted: Callable[[Heartbeat], bool]) -> Heartbeat:
        self.beats.clear()
        return self.wait_for(lambda: next((beat for beat in self.beats if wanted(beat)), None), "a heartbeat")

    def send(self, job: Job) -> None:
        assert self._jobs.send(job)

    def commit(self, entry: Final | Failed) -> None:
        self._commits.send(Committed(utterance_id=entry.utterance_id, journal_seq=1))


@pytest.fixture
def neighbours(settings: Settings, runtime_dir: Path) -> Iterator[FakeNeighbours]:
    with FakeNeighbours(settings) as neighbours:
        yield neighbours


@pytest.fixture
def worker(spawn, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen]:
    """Starts a worker with a small model, without network unless settings change that."""
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setenv("HF_HOME", str(runtime_dir / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    model = tinywhisper.build(runtime_dir / "tiny")

    def start(**settings: object) -> subprocess.Popen:
        named = {"transcribe_engine": "faster-whisper", "transcribe_model": model} | settings
        return spawn(MODULE, **{name: str(value) for name, value in named.items()})

    return start


def job(number: int = 1, attempt: int = 1, pcm: bytes = bytes(32_000), purpose: str = "final") -> Job:
    return Job(
        utterance_id=UtteranceId("mic", "ab", number),
        attempt=attempt,
        start_position=160_000,
        end_position=160_000 + len(pcm) // 2,
        ended_ns=7,
        wall_ns=8,
        cut_reason="silence",
        pcm=pcm,
        purpose=purpose,
    )


def test_a_job_becomes_a_final_that_is_sent_until_it_is_committed(worker, neighbours):
    process = worker()
    assert neighbours.wait_for_state("ready").received == 0
    neighbours.send(job())
    final = neighbours.wait_for_entry()
    assert (final.text, final.engine, final.model) == (tinywhisper.TEXT, "faster-whisper", "tiny")
    assert [word.word for word in final.words] == tinywhisper.TEXT.split()
    assert 10.0 <= final.words[0].start_s < final.words[-1].end_s <= 11.0 and final.decode_s > 0
    assert neighbours.wait_for_entry() == final  # again, as it is not committed
    neighbours.commit(final)
    neighbours.reports.clear()
    report = neighbours.wait_for(lambda: neighbours.reports and neighbours.reports[-1], "a report")
    report = neighbours.wait_for(lambda: not neighbours.reports[-1].holding and neighbours.reports[-1], "nothing held")
    assert (report.received, report.decoding, report.state) == (1, (), "ready")
    process.terminate()
    assert process.wait(5) == 0


def test_an_early_result_is_final_at_once(worker, neighbours):
    worker()
    neighbours.wait_for_state("ready")
    neighbours.send(job(purpose="early"))
    early = neighbours.wait_for(lambda: neighbours.hypotheses and neighbours.hypotheses[0], "a hypothesis")
    assert (early.text, early.purpose, early.worker, early.engine) == (
        tinywhisper.TEXT,
        "early",
        "transcribe-1",
        "faster-whisper",
    )
    assert neighbours.entries == [] and not any(report.holding for report in neighbours.reports)
    neighbours.send(job())
    final = neighbours.wait_for_entry()
    assert (final.text, final.words, final.decode_s) == (early.text, early.words, early.decode_s)
    assert {report.state for report in neighbours.reports if report.received == 2} == {"ready"}


def test_a_final_job_during_its_early_decode_is_decoded_once(worker, neighbours, runtime_dir):
    worker(transcribe_model=tinywhisper.build(runtime_dir / "slow", endless=True))
    neighbours.wait_for_state("ready")
    neighbours.send(job(purpose="early"))
    report = neighbours.wait_for_state("busy")
    assert (report.decoding, report.holding) == ((job().utterance_id,), ())
    neighbours.send(job())
    assert neighbours.wait_for_entry().text == tinywhisper.TEXT
    promoted = next(report for report in neighbours.reports if report.received == 2)
    assert promoted.holding == (job().utterance_id,)
    assert neighbours.hypotheses == []


def test_a_stop_does_not_wait_for_speculative_jobs(worker, neighbours, runtime_dir):
    process = worker(transcribe_model=tinywhisper.build(runtime_dir / "slow", endless=True, layers=8))
    neighbours.wait_for_state("ready")
    neighbours.send(job(purpose="interim"))
    neighbours.wait_for_state("busy")
    process.terminate()
    assert process.wait(5) == 0
    neighbours.poll()
    assert neighbours.hypotheses == [] and list(runtime_dir.glob("*transcribe-1*")) == []


def test_a_job_that_cannot_be_decoded_is_published_as_failed_and_work_continues(worker, neighbours):
    worker()
    neighbours.wait_for_state("ready")
    neighbours.send(job(1, pcm=bytes(31_999)))  # half a sample
    failed = neighbours.wait_for_entry()
    assert isinstance(failed, Failed) and failed.reason == "decode_error" and "buffer" in failed.detail
    neighbours.commit(failed)
    neighbours.send(job(2))
    final = neighbours.wait_for(
        lambda: next((e for e in neighbours.entries if e.utterance_id.number == 2), None), "the next entry"
    )
    assert final.text == tinywhisper.TEXT


def test_a_killed_worker_restarts_empty_and_accepts_the_job_again(worker, neighbours, runtime_dir):
    slow = tinywhisper.build(runtime_dir / "slow", endless=True)
    process = worker(transcribe_model=slow)
    boot_id = neighbours.wait_for_state("ready").boot_id
    neighbours.send(job())
    assert neighbours.wait_for_state("busy").decoding == (job().utterance_id,)
    process.kill()
    process.wait()
    worker()
    report = neighbours.wait_for(
        lambda: next((r for r in neighbours.reports if r.boot_id != boot_id and r.state == "ready"), None), "a new boot"
    )
    assert (report.received, report.holding) == (0, ())
    neighbours.send(job(attempt=2))
    final = neighbours.wait_for_entry()
    assert (final.text, final.attempt) == (tinywhisper.TEXT, 2)


def test_a_decode_past_its_deadline_ends_the_process(worker, neighbours, runtime_dir, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of the engine, whose decode takes a minute
    slow = {"transcribe_engine": "rig.coded:CodedEngine", "transcribe_model": "60"}
    process = worker(**slow, transcribe_deadline_min_s=0.1, transcribe_deadline_factor=0.1)
    neighbours.wait_for_state("ready")
    neighbours.send(job())
    beat = neighbours.wait_for_beat(lambda beat: "deadline" in beat.detail)
    assert beat.deadline_ns and str(job().utterance_id) in beat.detail
    assert process.wait(5) == os.EX_SOFTWARE
    assert str(job().utterance_id) in output_of(MODULE, runtime_dir)
    assert sorted(path.name for path in runtime_dir.glob("*transcribe-1*")) == []


def test_a_decode_that_was_frozen_with_its_process_is_not_past_its_deadline(worker, neighbours, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of the engine, whose decode takes five seconds
    slow = {"transcribe_engine": "rig.coded:CodedEngine", "transcribe_model": "5"}
    process = worker(**slow, transcribe_deadline_min_s=2, transcribe_deadline_factor=0.1)
    neighbours.wait_for_state("ready")
    neighbours.send(job())
    neighbours.wait_for_beat(lambda beat: beat.deadline_ns)
    process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    neighbours.poll()
    neighbours.beats.clear()
    continued_ns = time.monotonic_ns()
    process.send_signal(signal.SIGCONT)
    assert neighbours.wait_for_entry().utterance_id == job().utterance_id
    assert not [beat for beat in neighbours.beats if 0 < beat.deadline_ns < continued_ns]


def test_a_loop_is_published_once_with_its_reason(worker, neighbours, runtime_dir):
    worker(transcribe_model=tinywhisper.build(runtime_dir / "slow", endless=True))
    neighbours.wait_for_state("ready")
    neighbours.send(job(pcm=bytes(128_000)))
    final = neighbours.wait_for_entry()
    assert (final.text, final.reason) == (tinywhisper.TEXT, "repetition")


def test_sigterm_finishes_the_current_decode_and_waits_for_its_commit(worker, neighbours, runtime_dir):
    process = worker(transcribe_model=tinywhisper.build(runtime_dir / "slow", endless=True))
    neighbours.wait_for_state("ready")
    neighbours.send(job())
    neighbours.wait_for_state("busy")
    process.terminate()
    final = neighbours.wait_for_entry()
    neighbours.commit(final)
    assert process.wait(5) == 0
    neighbours.poll()
    assert neighbours.reports[-1].state == "draining" and neighbours.reports[-1].holding == ()
    assert list(runtime_dir.glob("*transcribe-1*")) == []


def test_sigterm_waits_for_a_commit_only_so_long(worker, neighbours):
    process = worker()
    neighbours.wait_for_state("ready")
    neighbours.send(job())
    neighbours.wait_for_entry()
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0  # without a commit


def test_sigterm_while_loading(worker, neighbours):
    process = worker(transcribe_model="tiny.en")
    neighbours.wait_for_state("starting")
    process.terminate()
    assert process.wait(3) == 0


def test_a_download_is_retried_and_the_heartbeat_has_its_error(worker, neighbours, runtime_dir):
    process = worker(transcribe_model="base")
    beat = neighbours.wait_for_beat(lambda beat: "trying again" in beat.detail)
    assert beat.state == "starting" and NOWHERE in beat.detail and "Connection refused" in beat.detail
    neighbours.wait_for_beat(lambda beat: "again in 2 s" in beat.detail)
    assert process.poll() is None and "Traceback" not in output_of(MODULE, runtime_dir)


def test_auto_falls_back_with_a_remark(worker, neighbours, runtime_dir):
    worker(transcribe_engine="auto", transcribe_model="base", transcribe_offline=True)
    neighbours.wait_for_state("ready")
    beat = neighbours.wait_for_beat(lambda beat: beat.state == "ready")
    assert "offline" in beat.detail and beat.detail.endswith("meanwhile, which makes more mistakes")
    assert beat.detail in output_of(MODULE, runtime_dir)
    neighbours.send(job())
    final = neighbours.wait_for_entry()
    assert (final.text, final.reason) == ("", "no_speech")
    assert f"using {final.engine} {final.model} meanwhile" in beat.detail


def _damaged(runtime_dir: Path) -> Path:
    model = tinywhisper.build(runtime_dir / "damaged")
    os.truncate(model / "model.bin", 100_000)
    return model


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"transcribe_engine": "faster-whispr"}, "did you mean faster-whisper?; there are faster-whisper, "),
        ({"transcribe_model": _damaged}, "damaged cannot be used"),
    ],
)
def test_a_configuration_error_is_one_line_and_exit_78(worker, runtime_dir, settings, hint):
    named = {name: value(runtime_dir) if callable(value) else value for name, value in settings.items()}
    assert worker(**named).wait(20) == os.EX_CONFIG
    (line,) = (line for line in output_of(MODULE, runtime_dir).splitlines() if " INFO " not in line)
    assert hint in line


def test_the_number_of_a_worker_is_validated(spawn, runtime_dir):
    assert spawn(MODULE, "two").wait(10) == os.EX_CONFIG
    assert "the number of a worker is 1 to 32, not two" in output_of(MODULE, runtime_dir)


def test_decoding_has_a_lower_priority_than_the_loop(worker, neighbours):
    process = worker()
    neighbours.wait_for_state("ready")
    nices = {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in psutil.Process(process.pid).threads()}
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0 and 5 in nices
