"""The vad service on the bus: receives from capture, the workers and journal; sends jobs and entries."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from voicetap import links, source_spec
from voicetap.codec import UtteranceId
from voicetap.messages import (
    FRAME_NS,
    AudioHead,
    AudioProgress,
    Failed,
    Final,
    Gap,
    Hypothesis,
    Job,
    JournalHead,
    ReplayRequest,
    SourceState,
    SpeechStarted,
    SpeechStopped,
    Status,
)
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node
from voicetap.vocabulary import ServiceState, SourceStatus

from . import silero
from .dispatcher import JOURNAL_TIMEOUT_S, Dispatcher, Outbox
from .segment_store import SegmentStore
from .source_tracker import BATCH_FRAMES, SourceTracker, UtteranceNumbers
from .speculation import SpeculationBudget, Speculator

BATCH_S = BATCH_FRAMES * FRAME_NS / 1e9 + 0.002  # until a batch of frames has arrived
MAX_WAIT_S = 0.05  # leases and requests have deadlines
STATES_S = 0.1
JOURNAL_AWAY_S = 2.0  # without a head, which it sends every 0.5 s
_WORKER_NAME = re.compile(r"[a-z0-9-]{1,64}")  # it becomes part of a file name

log = logging.getLogger("vad")


class Service:
    """All sources and one outbox. Everything is committed to the segment stores before it is sent."""

    def __init__(self, node: Node, stack: ExitStack):
        settings, names = node.settings, [source.name for source in source_spec.parse_all(node.settings)]
        vad = settings.vad
        self._node = node
        session = silero.load(silero.model_path())
        self._stores = {name: SegmentStore(Path(settings.runtime_dir, f"cuts-{name}.sqlite")) for name in names}
        for store in self._stores.values():
            stack.callback(store.close)
        self._trackers = {
            name: SourceTracker(name, node.name, self._stores[name], silero.Silero(session), vad) for name in names
        }
        self._started_s = time.monotonic()
        self._outbox = Outbox(vad.lease_s, vad.max_attempts, settings.capture.ring_s, self._started_s)
        self._dispatcher = Dispatcher(node, self._outbox, self._stores)
        budget = SpeculationBudget(vad.interim_share if vad.interims else 0.0)
        self._speculator = Speculator(self._trackers.values(), self._dispatcher, budget)
        self._published_states = dict.fromkeys(names, (str(SourceStatus.LIVE), ""))
        self._states_s = 0.0
        self._drops = 0  # of the trackers, as in the last heartbeat
        self._journal_s = self._started_s  # when journal last sent something
        self._is_journal_stuck = False  # it cannot write
        self._bundle_stopping_s: float | None = None
        self._connect(names)

    def _connect(self, names: list[str]) -> None:
        node = self._node
        self._commits = node.receiver(links.COMMITS)
        self._workers = node.receiver(links.WORKERS)
        self._replay = {name: node.sender(links.REPLAY.of(name)) for name in names}
        self._audio = {
            name: node.receiver(links.AUDIO.of(name), (f"audio/{name}", f"head/{name}", f"replay/{node.name}"))
            for name in names
        }

    def run(self) -> None:
        node = self._node
        node.state = ServiceState.READY
        while node.alive():
            if (sleep_s := self.sleep_s()) > 0:
                node.sleep(sleep_s)
            else:
                node.wait(self.wait_s())
            self.step()
        self.drain()

    def wait_s(self) -> float:
        """How long to wait for messages at most."""
        return 0 if any(tracker.is_behind for tracker in self._trackers.values()) else MAX_WAIT_S

    def sleep_s(self) -> float:
        """How long to sleep in silence while frames accumulate: run frame by frame, the model has cold caches.

        Frames that wait for journal must not end the wait either: that would be a busy loop for as long as it is away.
        """
        now_s = time.monotonic()
        if now_s - self._started_s > JOURNAL_TIMEOUT_S and self._is_recovering(now_s):
            return MAX_WAIT_S
        trackers = self._trackers.values()
        if not (self._outbox.is_empty and all(tracker.is_quiet for tracker in trackers)):
            return 0.0
        captured_ns = max(tracker.captured_ns for tracker in trackers)
        return min(BATCH_S, (captured_ns - time.monotonic_ns()) / 1e9 + BATCH_S)

    def step(self) -> None:
        """Does everything that can be done now, bounded."""
        now_s = time.monotonic()
        self._on_commits(now_s)
        self._on_reports(now_s)
        if not self._is_recovering(now_s):
            for name, tracker in self._trackers.items():
                self._step_source(name, tracker, now_s)
        self._dispatcher.step(None, now_s)
        self._speculator.step(now_s)
        if now_s - self._states_s >= STATES_S:
            self._states_s = now_s
            self._update_states()
            self._check_bundle_stopping(now_s)

    def _on_commits(self, now_s: float) -> None:
        for message in self._commits:
            self._journal_s = now_s
            self._dispatcher.step(message, now_s)
            if isinstance(message, JournalHead):
                self._on_journal_head(message)
            else:
                self._on_committed(message.utterance_id, message.utterance_id.number)
                failpoint("vad.commit.received")

    def _on_journal_head(self, head: JournalHead) -> None:
        self._speculator.is_tapped = head.interims_wanted
        self._is_journal_stuck = head.unstored > 0
        for last in head.committed:
            self._on_committed(last._replace(number=1), last.number)
            self._numbers_of(last).record_committed(last)
        for highest in head.highest:
            self._numbers_of(highest).record(highest)

    def _on_reports(self, now_s: float) -> None:
        for report in self._workers:
            if isinstance(report, Hypothesis):
                self._speculator.on_hypothesis(report)
            elif _WORKER_NAME.fullmatch(report.worker):
                self._dispatcher.step(report, now_s)
                for id_ in report.holding:
                    self._numbers_of(id_).record(id_)

    def _on_committed(self, first: UtteranceId, last: int) -> None:
        if tracker := self._trackers.get(first.source):
            tracker.on_committed(first, last)

    def _numbers_of(self, id_: UtteranceId) -> UtteranceNumbers:
        tracker = self._trackers.get(id_.source)
        return tracker.numbers if tracker else UtteranceNumbers()  # of a source that was removed from the settings

    def _is_recovering(self, now_s: float) -> bool:
        """Whether to wait for peers: a new store may be a lost one, and then only they have the numbers in use.

        Without journal nothing can be published anyway, and the ring keeps the frames meanwhile.
        """
        is_new = any(store.is_new for store in self._stores.values())
        is_lost = any(tracker.numbers for tracker in self._trackers.values())
        is_starting = now_s - self._started_s < JOURNAL_TIMEOUT_S
        return is_new and (not self._outbox.has_journal_head or (is_lost and is_starting))

    def _step_source(self, name: str, tracker: SourceTracker, now_s: float) -> None:
        for message in self._audio[name]:
            if message.source != name:
                continue
            if isinstance(message, AudioHead):
                self._send(tracker.on_head(message, now_s), now_s)
            else:
                tracker.on_frame(message)
        self._send(tracker.step(now_s), now_s)

    def _send(self, messages: Iterable[object], now_s: float) -> None:
        for message in messages:
            match message:
                case Job() | Final() | Failed() | Gap():
                    failpoint("vad.segment.committed")
                    self._dispatcher.step(message, now_s)
                case SpeechStarted() | SpeechStopped():
                    self._dispatcher.publish(message)
                case ReplayRequest() | AudioProgress():
                    self._replay[message.source].send(message)

    def _update_states(self) -> None:
        level = self._speculator.level(time.monotonic())
        states = tuple(
            replace(tracker.state(), interims=level, **self._outbox.counts(name))
            for name, tracker in self._trackers.items()
        )
        self._node.sources = states
        drops = sum(tracker.drops for tracker in self._trackers.values())
        self._node.drops += max(0, drops - self._drops)  # it starts again at 0 with every stream
        self._drops = drops
        self._node.queue_depth = sum(state.backlog for state in states)
        for state in states:
            self._publish_if_changed(state)

    def _publish_if_changed(self, state: SourceState) -> None:
        # the detail of a lost source may change often
        published = (state.state, state.detail if state.state == SourceStatus.LIVE else "")
        if not state.stream or published == self._published_states[state.source]:
            return
        self._published_states[state.source] = published
        log.info("%s is %s %s", state.source, state.state, state.detail)
        is_warning = bool(state.detail) and state.detail == self._trackers[state.source].warning
        news = {"state": ServiceState.DEGRADED if is_warning else state.state, "detail": state.detail}
        self._dispatcher.publish(Status(source=state.source, wall_ns=time.time_ns(), **news))

    # ---- shutdown -----------------------------------------------------------------------------------

    def _check_bundle_stopping(self, now_s: float) -> None:
        """Signals supervise that everything is committed, so that it can end the stopping bundle."""
        runtime_dir = self._node.settings.runtime_dir
        if not shutdown.is_bundle_stopping(runtime_dir):
            return
        self._bundle_stopping_s = self._bundle_stopping_s or now_s
        is_drained = all(state.state == SourceStatus.DRAINED for state in self._node.sources)
        if is_drained and not self._is_recovering(now_s):  # else frames wait that were never read
            shutdown.mark_drained(runtime_dir)

    def drain(self) -> None:
        """After SIGTERM. If capture stops too, the open utterance is delivered; else a successor resumes it.

        If the whole bundle stops there is no successor: what has no text in time is failed. Without a journal that
        could commit it, everything is left to the next start instead, with its sound in the ring.
        """
        now_s = time.monotonic()
        self._check_bundle_stopping(now_s)
        is_last = self._bundle_stopping_s is not None
        trackers = self._trackers.values()
        self._step_while(lambda: not all(tracker.is_over for tracker in trackers), now_s + shutdown.VAD_SOURCES_S)
        if is_last and not self._can_commit(time.monotonic()):
            log.warning("stopping without journal: what is not committed is kept for the next start")
            self._update_states()
            self._node.beat_now()
            return
        if is_last:
            self._close(tracker for tracker in trackers if not tracker.is_over)
        self._step_while(self._is_delivering, (self._bundle_stopping_s or now_s) + shutdown.VAD_DRAIN_S)
        if is_last and self._can_commit(time.monotonic()):
            self._close(tracker for tracker in trackers if not self._is_drained(tracker))
            self._fail_pending()
            self._step_while(self._is_delivering, time.monotonic() + shutdown.VAD_FAIL_S)
        self._update_states()
        self._check_bundle_stopping(now_s)
        self._node.beat_now()

    def _step_while(self, is_needed: Callable[[], bool], deadline_s: float) -> None:
        while time.monotonic() < deadline_s and is_needed():
            if self._is_recovering(time.monotonic()):
                self._node.sleep(MAX_WAIT_S)
            else:
                self._node.wait(self.wait_s())
            self.step()
            self._node.beat()

    def _can_commit(self, now_s: float) -> bool:
        """Whether journal runs, and can write."""
        return now_s - self._journal_s < JOURNAL_AWAY_S and not self._is_journal_stuck

    def _is_delivering(self) -> bool:
        """Whether something of a source that is over is not committed yet."""
        return any(tracker.is_over and not self._is_drained(tracker) for tracker in self._trackers.values())

    def _is_drained(self, tracker: SourceTracker) -> bool:
        return tracker.state().state == SourceStatus.DRAINED

    def _close(self, trackers: Iterable[SourceTracker]) -> None:
        for tracker in trackers:
            self._send(tracker.close(), time.monotonic())

    def _fail_pending(self) -> None:
        failed = [entry for tracker in self._trackers.values() for entry in tracker.fail_pending()]
        if failed:
            log.warning("stopping: %d utterances were not transcribed", len(failed))
        self._send(failed, time.monotonic())
