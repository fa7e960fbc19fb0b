"""The main loop of a worker: receives jobs, reports to vad, sends results to journal until they are committed."""

import logging
import time
from dataclasses import replace

from voicetap import links
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, Committed, Hypothesis, Job, JournalHead, WorkerReport
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import HEARTBEAT_COALESCE_S, Node
from voicetap.settings import TranscribeSettings
from voicetap.vocabulary import Purpose, Reason, ServiceState

from .decoder import (
    DecodeDone,
    DecodeFailed,
    DecodePreempted,
    Decoder,
    DecoderEvent,
    EngineFailed,
    EngineLoaded,
    EngineLoading,
)
from .engines.base import Result
from .job_queue import JobQueue
from .results import PreviousFinals, build_failed, build_final, build_hypothesis

TURN_S = 0.2  # of the loop while draining
REPORT_S = 0.2  # while it holds jobs or results: reports renew their lease
REPORT_IDLE_S = 0.5
LATE_S = 1.0  # after a longer pause between two turns this process was stopped, and the decode with it

log = logging.getLogger("worker")


class DecodeTimeout(RuntimeError):
    """A decode is past its deadline. C code cannot be interrupted, so the process has to exit."""


def deadline_s(job: Job, settings: TranscribeSettings) -> float:
    """The longest time that decoding this job may take."""
    return max(settings.deadline_min_s, settings.deadline_factor * len(job.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ)


class WorkerService:
    """`run` works until the node is stopped, then drains for a bounded time."""

    def __init__(self, node: Node, decoder: Decoder):
        self._node = node
        self._decoder = decoder
        self._settings = node.settings.transcribe
        self._queue = JobQueue()
        self._previous = PreviousFinals()
        self._engine: EngineLoaded | None = None
        self._reported: WorkerReport | None = None
        self._report_at_s = 0.0
        self._turn_ns = time.monotonic_ns()
        self._jobs = node.receiver(links.JOBS.of(node.name))
        self._commits = node.receiver(links.COMMITS)
        self._reports = node.sender(links.WORKERS)
        self._results = node.sender(links.RESULTS)
        node.watch(decoder.fd)

    def run(self) -> None:
        """Raises DecodeTimeout, and the error that kept the engine from loading."""
        while self._node.alive():
            self._node.wait(self.wait_s())
            self.turn()
        self.drain()

    def wait_s(self) -> float:
        """Time until the next report. Messages and decoder events end the wait earlier."""
        return max(0.0, self._report_at_s - time.monotonic())

    def turn(self) -> None:
        """One pass of the loop: handles what has come in and sends what is due. Raises as `run` does."""
        self._extend_deadline()
        for message in self._commits:
            self._on_journal(message)
            failpoint("transcribe.commit.received")
        for event in self._decoder.events():
            self._on_decoder_event(event)
        if not self._node.stopping:
            self._receive_jobs()
        for entry in self._queue.due_results(time.monotonic()):
            failpoint("transcribe.result.ready")
            self._results.send(entry)
            failpoint("transcribe.result.sent")
        self._report()
        self._check_deadline()

    def _on_journal(self, message: Committed | JournalHead) -> None:
        if isinstance(message, Committed):
            self._queue.on_committed(message)
        else:
            self._queue.on_head(message)

    def _receive_jobs(self) -> None:
        for job in self._jobs:
            self._queue.on_job(job)
            failpoint("transcribe.job.received")
        for job, early in self._queue.pop_early_results():
            self._add_result(job, early.result, early.decode_s)
        if self._queue.should_preempt:
            self._decoder.preempt()
        if self._engine and (job := self._queue.start()):
            self._node.deadline_ns = time.monotonic_ns() + int(deadline_s(job, self._settings) * 1e9)
            self._decoder.decode(job)

    def _on_decoder_event(self, event: DecoderEvent) -> None:
        match event:
            case EngineLoading(detail):
                log.info("%s", detail)
                self._node.detail = detail
                self._node.beat_now()
            case EngineLoaded(engine, model, remark, origin):
                used = f"{engine} {model} ({origin})" if origin else f"{engine} {model}"
                log.log(logging.WARNING if remark else logging.INFO, "ready: %s %s", used, remark)
                self._engine = event
                self._node.detail = remark or used
            case EngineFailed(error):
                raise error
            case DecodeDone(_, result, decode_s):
                self._on_decoded(self._finish(), result, decode_s)
            case DecodeFailed(_, detail):
                self._on_failed(self._finish(), detail)
            case DecodePreempted():
                self._finish()

    def _finish(self) -> Job:
        self._node.deadline_ns = 0
        return self._queue.finish()

    def _on_decoded(self, job: Job, result: Result, decode_s: float) -> None:
        if job.purpose == Purpose.FINAL:
            self._add_result(job, result, decode_s)
        else:
            self._queue.cache_early_result(job, result, decode_s)
            self._reports.send(self._hypothesis(job, result, decode_s))

    def _add_result(self, job: Job, result: Result, decode_s: float) -> None:
        entry = build_final(job, result, engine=self._engine.engine, model=self._engine.model, decode_s=decode_s)
        entry = self._previous.drop_repeated_word(job, entry)
        self._previous.update(job, entry)
        self._queue.add_result(entry, time.monotonic())

    def _on_failed(self, job: Job, detail: str) -> None:
        if job.purpose == Purpose.FINAL:
            self._queue.add_result(build_failed(job, Reason.DECODE_ERROR, detail), time.monotonic())
        else:
            self._reports.send(replace(self._hypothesis(job, Result(), 0.0), reason=Reason.DECODE_ERROR))

    def _hypothesis(self, job: Job, result: Result, decode_s: float) -> Hypothesis:
        return build_hypothesis(
            job,
            result,
            worker=self._node.name,
            boot_id=self._node.boot_id,
            engine=self._engine.engine,
            model=self._engine.model,
            decode_s=decode_s,
        )

    def _report(self) -> None:
        """Sends a report on every change, and often enough to renew the lease."""
        report = self._current_report()
        self._node.queue_depth = len(report.holding)
        earlier_s = 0.0 if report.holding else HEARTBEAT_COALESCE_S
        if report == self._reported and time.monotonic() < self._report_at_s - earlier_s:
            return
        changed = self._reported is None or report.state != self._reported.state
        self._reported = report
        self._report_at_s = time.monotonic() + (REPORT_S if report.holding else REPORT_IDLE_S)
        self._reports.send(report)
        if changed:
            self._node.state = report.state
            self._node.beat_now()

    def _current_report(self) -> WorkerReport:
        decoding = self._queue.decoding
        return WorkerReport(
            worker=self._node.name,
            boot_id=self._node.boot_id,
            state=self._state(),
            received=self._queue.received,
            decoding=(decoding.utterance_id,) if decoding else (),
            holding=self._queue.holding,
        )

    def _state(self) -> ServiceState:
        if self._node.stopping:
            return ServiceState.DRAINING
        if not self._engine:
            return ServiceState.STARTING
        return ServiceState.BUSY if self._queue.decoding else ServiceState.READY

    def _extend_deadline(self) -> None:
        """By the time for which this process was stopped, before a heartbeat reports the deadline as missed."""
        pause_ns, self._turn_ns = time.monotonic_ns() - self._turn_ns, time.monotonic_ns()
        if self._node.deadline_ns and pause_ns > LATE_S * 1e9:
            self._node.deadline_ns += pause_ns

    def _check_deadline(self) -> None:
        if self._node.deadline_ns and time.monotonic_ns() > self._node.deadline_ns:
            detail = f"utterance {self._queue.decoding.utterance_id} is not decoded by its deadline"
            self._node.detail = detail
            self._node.beat_now()
            raise DecodeTimeout(detail)

    def drain(self) -> None:
        """Finishes the final job being decoded and waits until its result is committed, each for a bounded time.

        Unfinished jobs are left to vad, which sends them to another worker or has failed them already.
        """
        self._queue.drop_waiting()
        if not self._queue.is_final_decoding:
            self._decoder.preempt()
        decode_until_s = time.monotonic() + shutdown.WORKER_DECODE_S
        while self._queue.is_final_decoding and time.monotonic() < decode_until_s:
            self._drain_turn()
        commit_until_s = time.monotonic() + shutdown.WORKER_COMMIT_S
        while self._queue.uncommitted and time.monotonic() < commit_until_s:
            self._drain_turn()
        self._report()

    def _drain_turn(self) -> None:
        self._node.beat()
        self._node.wait(TURN_S)
        self.turn()
