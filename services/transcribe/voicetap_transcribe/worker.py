"""The work loop of a transcribe process: takes jobs, reports to vad, sends results until they are committed."""

import logging
import time
from dataclasses import replace

from voicetap import links
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, Hypothesis, Job, WorkerReport
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import HEARTBEAT_COALESCE_S, Node
from voicetap.settings import TranscribeSettings

from .context import Context
from .decoder import Decoded, Decoder, Event, GaveWay, Loaded, Loading, NotLoaded, Undecodable
from .drafts import FINAL
from .engine import Result
from .finals import failed_of, final_of, hypothesis_of
from .ledger import Ledger

TURN_S = 0.2  # of a drain
REPORT_S = 0.2  # with something in hand, which the reports are the lease of
REPORT_IDLE_S = 0.5

log = logging.getLogger("worker")


class DecodeHung(RuntimeError):
    """A decode is past its deadline, and C code cannot be interrupted: the process has to end."""


def deadline_s(job: Job, settings: TranscribeSettings) -> float:
    """How long this job may take."""
    return max(settings.deadline_min_s, settings.deadline_factor * len(job.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ)


class Worker:
    """`run` until the node is told to stop, then drain, bounded."""

    def __init__(self, node: Node, decoder: Decoder):
        self._node = node
        self._decoder = decoder
        self._settings = node.settings.transcribe
        self._ledger = Ledger()
        self._context = Context(self._settings.previous_text_max_gap_s)
        self._loaded: Loaded | None = None
        self._reported: WorkerReport | None = None
        self._report_at_s = 0.0
        self._jobs = node.receiver(links.JOBS.of(node.name))
        self._commits = node.receiver(links.COMMITS)
        self._reports = node.sender(links.WORKERS)
        self._results = node.sender(links.RESULTS)
        node.watch(decoder.fd)

    def run(self) -> None:
        """Raises DecodeHung, and what kept the engine from loading."""
        while self._node.alive():
            self._node.wait(self.wait_s())
            self.turn()
        self.drain()

    def wait_s(self) -> float:
        """Until the next report; everything urgent wakes the loop."""
        return max(0.0, self._report_at_s - time.monotonic())

    def turn(self) -> None:
        """Everything that can be done now. Raises as `run` does."""
        for news in self._commits:
            self._ledger.hear(news)
            failpoint("transcribe.commit.heard")
        for event in self._decoder.events():
            self._handle(event)
        if not self._node.stopping:
            self._take_jobs()
        for entry in self._ledger.due(time.monotonic()):
            failpoint("transcribe.result.ready")
            self._results.send(entry)
            failpoint("transcribe.result.sent")
        self._report()
        self._check_deadline()

    def _take_jobs(self) -> None:
        for job in self._jobs:
            self._ledger.receive(job)
            failpoint("transcribe.job.received")
        for job, heard in self._ledger.recall():
            self._hold(job, heard.result, heard.decode_s)
        if self._ledger.is_pressed:
            self._decoder.give_way()
        if self._loaded and (job := self._ledger.start()):
            self._node.deadline_ns = time.monotonic_ns() + int(deadline_s(job, self._settings) * 1e9)
            self._decoder.decode(replace(job, previous_text=job.previous_text or self._context.previous_text(job)))

    def _handle(self, event: Event) -> None:
        match event:
            case Loading(detail):
                log.info("%s", detail)
                self._node.detail = detail
            case Loaded(engine, model, remark):
                log.log(logging.WARNING if remark else logging.INFO, "ready: %s %s %s", engine, model, remark)
                self._loaded = event
                self._node.detail = remark or f"{engine} {model}"
            case NotLoaded(error):
                raise error
            case Decoded(_, result, decode_s):
                self._answer(self._finish(), result, decode_s)
            case Undecodable(_, detail):
                self._give_up(self._finish(), detail)
            case GaveWay():
                self._finish()

    def _finish(self) -> Job:
        self._node.deadline_ns = 0
        return self._ledger.finish()

    def _answer(self, job: Job, result: Result, decode_s: float) -> None:
        if job.purpose == FINAL:
            self._hold(job, result, decode_s)
        else:
            self._ledger.remember(job, result, decode_s)
            self._reports.send(self._hypothesis_of(job, result, decode_s))

    def _hold(self, job: Job, result: Result, decode_s: float) -> None:
        entry = final_of(job, result, engine=self._loaded.engine, model=self._loaded.model, decode_s=decode_s)
        mended = self._context.mended(job, entry)
        self._context.note(job, mended)
        self._ledger.hold(mended, time.monotonic())

    def _give_up(self, job: Job, detail: str) -> None:
        if job.purpose == FINAL:
            self._ledger.hold(failed_of(job, "decode_error", detail), time.monotonic())
        else:
            self._reports.send(replace(self._hypothesis_of(job, Result(), 0.0), reason="decode_error"))

    def _hypothesis_of(self, job: Job, result: Result, decode_s: float) -> Hypothesis:
        return hypothesis_of(
            job,
            result,
            worker=self._node.name,
            boot_id=self._node.boot_id,
            engine=self._loaded.engine,
            model=self._loaded.model,
            decode_s=decode_s,
        )

    def _report(self) -> None:
        """On every change, and often enough to be a lease."""
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
        decoding = self._ledger.decoding
        state = "starting" if not self._loaded else "busy" if decoding else "ready"
        return WorkerReport(
            worker=self._node.name,
            boot_id=self._node.boot_id,
            state="draining" if self._node.stopping else state,
            received=self._ledger.received,
            decoding=(decoding.utterance_id,) if decoding else (),
            holding=self._ledger.holding,
        )

    def _check_deadline(self) -> None:
        if self._node.deadline_ns and time.monotonic_ns() > self._node.deadline_ns:
            hung = f"utterance {self._ledger.decoding.utterance_id} is not decoded by its deadline"
            self._node.detail = hung
            self._node.beat_now()
            raise DecodeHung(hung)

    def drain(self) -> None:
        """Ends the decode in hand and waits until its result is safe, both for a bounded time.

        What it does not finish vad gives to another, or has given up already.
        """
        self._ledger.refuse_waiting()
        if not self._ledger.is_owing:
            self._decoder.give_way()
        decode_until_s = time.monotonic() + shutdown.WORKER_DECODE_S
        while self._ledger.is_owing and time.monotonic() < decode_until_s:
            self._node.beat()
            self._node.wait(TURN_S)
            self.turn()
        commit_until_s = time.monotonic() + shutdown.WORKER_COMMIT_S
        while self._ledger.results and time.monotonic() < commit_until_s:
            self._node.beat()
            self._node.wait(TURN_S)
            self.turn()
        self._report()
