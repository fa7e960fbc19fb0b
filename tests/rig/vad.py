"""vad's peers, run by the test: a capture with a small ring, workers, and a journal."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rig import speech
from rig.workers import FakeWorker, final_of, hypothesis_of
from voicetap import links
from voicetap.bus import Bus
from voicetap.codec import UtteranceId
from voicetap.messages import (
    FRAME_BYTES,
    FRAME_NS,
    FRAME_SAMPLES,
    AudioFrame,
    AudioHead,
    AudioProgress,
    Committed,
    Failed,
    Final,
    Gap,
    Heartbeat,
    Job,
    JournalHead,
    ReplayRequest,
    SpeechStarted,
    WorkerReport,
)
from voicetap.settings import Settings
from voicetap.vocabulary import Purpose

SPEECH = Path(__file__).parent.parent / "data/speech.wav"  # flite: one utterance of two seconds
HEAD_S = 0.05


def spoken() -> bytes:
    """Whole frames of speech."""
    pcm = speech.pcm_of(SPEECH)
    return pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES]


def silent(frames: int) -> bytes:
    return bytes(FRAME_BYTES * frames)


def make_frame(
    seq: int, pcm: bytes = bytes(FRAME_BYTES), position: int | None = None, stream: str = "a1", gap_reason: str = ""
) -> AudioFrame:
    return AudioFrame(
        source="mic",
        stream=stream,
        seq=seq,
        position=seq * FRAME_SAMPLES if position is None else position,
        captured_ns=seq * FRAME_NS,
        wall_ns=10**18 + seq * FRAME_NS,
        pcm=pcm,
        gap_reason=gap_reason,
    )


class FakeEar:
    """Stands in for Silero: the first byte of a frame is its speech probability, in percent."""

    def reset(self) -> None:
        """It has no state."""

    def probabilities(self, pcm: bytes, gains: object = None) -> list[float]:
        return [percent / 100 for percent in pcm[::FRAME_BYTES]]


class VadPeers:
    """Every process that vad communicates with. `run_until` runs them until a condition holds."""

    def __init__(self, settings: Settings, workers: tuple[str, ...] = ("w1",)):
        self.settings = settings
        self.stream, self.state = "a1", "live"
        self.ring: dict[int, AudioFrame] = {}
        self.first_seq = 0  # of the ring
        self.next_position = 0
        self.workers = {name: FakeWorker(name) for name in workers}
        self.commits = True  # whether journal commits the entries it receives
        self.acknowledges = True  # whether it sends Committed; its head reports commits in any case
        self.entries: dict[UtteranceId, Final | Failed | Gap] = {}
        self.events: list[object] = []
        self.requests: list[ReplayRequest] = []
        self.needed_seq = -1
        self.heartbeat: Heartbeat | None = None
        self._gap_reason = ""
        self._next_s = 0.0

    def __enter__(self) -> "VadPeers":
        with ExitStack() as stack:
            capture, worker, journal, watchdog = (
                stack.enter_context(Bus(name, self.settings))
                for name in ("capture", "transcribe", "journal", "watchdog")
            )
            self._audio = capture.sender(links.AUDIO.of("mic"))
            self._replay = capture.receiver(links.REPLAY.of("mic"))
            self._reports = worker.sender(links.WORKERS)
            self._jobs = {name: worker.receiver(links.JOBS.of(name)) for name in self.workers}
            self._results = journal.receiver(links.RESULTS)
            self._commits = journal.sender(links.COMMITS)
            self._heartbeats = watchdog.receiver(links.HEARTBEAT.of("vad"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # ---- what a test does -----------------------------------------------------------------------

    def play(self, pcm: bytes, publish: Callable[[int], bool] = lambda seq: True) -> None:
        """capture commits these frames to its ring and publishes those whose seq `publish` accepts."""
        for start in range(0, len(pcm), FRAME_BYTES):
            seq = self.next_seq
            frame_pcm = pcm[start : start + FRAME_BYTES]
            self.ring[seq] = make_frame(seq, frame_pcm, self.next_position, self.stream, self._gap_reason)
            self.next_position += FRAME_SAMPLES
            self._gap_reason = ""
            if publish(seq):
                self._audio.send(self.ring[seq])

    def lose_sound(self, samples: int) -> None:
        """The device delivers nothing for this long."""
        self.next_position += samples
        self._gap_reason = "device_lost"

    def start_stream(self, stream: str) -> None:
        self.stream, self.first_seq, self.next_position = stream, 0, 0
        self.ring.clear()

    def overwrite_before(self, seq: int) -> None:
        self.first_seq = seq
        self.ring = {held: frame for held, frame in self.ring.items() if held >= seq}

    def run_until(self, condition: Callable[[], object], what: str, within_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}; {self.entries}; {self.events}"
            self._step()
            time.sleep(0.002)

    def drained(self) -> bool:
        """Whether vad's heartbeat reports this stream as drained."""
        states = self.heartbeat.sources if self.heartbeat else ()
        return any(state.state == "drained" and state.stream == self.stream for state in states)

    @property
    def next_seq(self) -> int:
        return max(self.ring, default=self.first_seq - 1) + 1

    @property
    def final_jobs(self) -> list[Job]:
        return [job for worker in self.workers.values() for job in worker.jobs]

    @property
    def speculative_jobs(self) -> list[Job]:
        return [job for worker in self.workers.values() for job in worker.speculative_jobs]

    @property
    def started(self) -> list[UtteranceId]:
        return [event.utterance_id for event in self.events if isinstance(event, SpeechStarted)]

    # ---- how they run ---------------------------------------------------------------------------

    def _step(self) -> None:
        for request in self._replay:
            self._on_request(request)
        for worker in self.workers.values():
            for job in self._jobs[worker.name]:
                self._on_job(worker, job)
        for result in self._results:
            self._on_result(result)
        self.heartbeat = [self.heartbeat, *self._heartbeats][-1]
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + HEAD_S
            self._publish_states()

    def _on_request(self, request: ReplayRequest | AudioProgress) -> None:
        if isinstance(request, AudioProgress):
            self.needed_seq = request.needed_seq
            return
        self.requests.append(request)
        for seq in range(request.from_seq, min(request.to_seq, request.from_seq + 256)):
            if request.stream == self.stream and seq in self.ring:
                self._audio.send(self.ring[seq], topic=f"replay/{request.requester}")

    def _on_job(self, worker: FakeWorker, job: Job) -> None:
        if job.purpose != Purpose.FINAL:
            self._on_speculative_job(worker, job)
        elif worker.answers:
            worker.jobs.append(job)
            self._on_result(final_of(job))
        else:
            worker.jobs.append(job)
            worker.holding.append(job.utterance_id)
        self._report(worker)

    def _on_speculative_job(self, worker: FakeWorker, job: Job) -> None:
        worker.speculative_jobs.append(job)
        if worker.answers_speculative:
            self._reports.send(hypothesis_of(worker, job))

    def _on_result(self, result: object) -> None:
        if not isinstance(result, Final | Failed | Gap):
            self.events.append(result)
        elif self.commits:
            self.entries.setdefault(result.utterance_id, result)
            if self.acknowledges:
                self._commits.send(Committed(utterance_id=result.utterance_id, journal_seq=len(self.entries)))

    def _report(self, worker: FakeWorker) -> None:
        report = WorkerReport(
            worker=worker.name,
            boot_id=worker.boot_id,
            state="busy" if worker.holding else "ready",
            received=len(worker.jobs) + len(worker.speculative_jobs),
            decoding=tuple(worker.holding),
            holding=tuple(worker.holding),
        )
        if worker.reports:
            self._reports.send(report)

    def _publish_states(self) -> None:
        for worker in self.workers.values():
            self._report(worker)
        if self.state != "dead":
            self._audio.send(self._head())
        next_seq = len(self.entries) + 1
        self._commits.send(JournalHead(journal_id="j", first_seq=1, next_seq=next_seq, committed=self._watermark()))

    def _watermark(self) -> tuple[UtteranceId, ...]:
        id_ = UtteranceId("mic", self.stream, 0)
        while (following := id_._replace(number=id_.number + 1)) in self.entries:
            id_ = following
        return (id_,) if id_.number else ()

    def _head(self) -> AudioHead:
        return AudioHead(
            source="mic",
            stream=self.stream,
            first_seq=self.first_seq,
            next_seq=self.next_seq,
            next_position=self.next_position,
            state=self.state,
        )
