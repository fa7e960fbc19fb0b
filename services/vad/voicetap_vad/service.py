"""The vad service on the bus: hears capture, the workers and journal, and sends what comes of it."""

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
    AudioProgress,
    Failed,
    Final,
    Gap,
    Hypothesis,
    Job,
    JournalHead,
    ReplayRequest,
    SpeechStarted,
    SpeechStopped,
    Status,
)
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node

from . import outbox, silero
from .cutlist import CutList
from .delivery import Delivery
from .guessing import Guessing
from .listener import GATHER_FRAMES, Listener
from .numbers import Numbers
from .pace import Pace

GATHER_S = GATHER_FRAMES * FRAME_NS / 1e9 + 0.002  # until so many more are here
TURN_S = 0.05  # the longest wait: leases and requests have deadlines
STATE_S = 0.1
STOPPING_PATIENCE_S = 0.3  # for capture to say that it was stopped too
DRAIN_S = 2.4  # of the 5 s in which the whole bundle stops
GIVE_UP_S = 0.3  # for journal to hear of what has no text by then
_WORKER = re.compile(r"[a-z0-9-]{1,64}")  # it becomes part of a file name

log = logging.getLogger("vad")


class Service:
    """All sources, one outbox. Everything is noted in the cut lists before it is sent."""

    def __init__(self, node: Node, stack: ExitStack):
        settings, names = node.settings, [source.name for source in source_spec.parse_all(node.settings)]
        self._node = node
        session = silero.load(silero.model_path())
        self._cuts = {name: CutList(Path(settings.runtime_dir, f"cuts-{name}.sqlite")) for name in names}
        for cuts in self._cuts.values():
            stack.callback(cuts.close)
        self._listeners = {
            name: Listener(name, node.name, self._cuts[name], silero.Silero(session), settings.vad) for name in names
        }
        self._started_s = time.monotonic()
        vad = settings.vad
        self._outbox = outbox.Outbox(vad.lease_s, vad.max_attempts, settings.capture.ring_s, self._started_s)
        self._delivery = Delivery(node, self._outbox, self._cuts)
        pace = Pace(vad.interim_share if vad.interims else 0.0)
        self._guessing = Guessing(self._listeners.values(), self._delivery, pace)
        self._announced = dict.fromkeys(names, ("live", ""))
        self._states_s = 0.0
        self._ending_s: float | None = None  # since when all of the box ends
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
        node.state = "ready"
        while node.alive():
            if (rest_s := self.rest_s()) > 0:
                node.sleep(rest_s)
            else:
                node.wait(self.wait_s())
            self.turn()
        self.drain()

    def wait_s(self) -> float:
        """How long to wait at most for something to do."""
        return 0 if any(listener.is_behind for listener in self._listeners.values()) else TURN_S

    def rest_s(self) -> float:
        """While nobody speaks, frames gather: woken by each, the model never finds its weights in the cache."""
        listeners = self._listeners.values()
        if not (self._outbox.is_empty and all(listener.is_quiet for listener in listeners)):
            return 0.0
        captured_ns = max(listener.captured_ns for listener in listeners)
        return min(GATHER_S, (captured_ns - time.monotonic_ns()) / 1e9 + GATHER_S)

    def turn(self) -> None:
        """Everything that can be done now, bounded."""
        now_s = time.monotonic()
        self._hear_journal(now_s)
        for report in self._workers:
            if isinstance(report, Hypothesis):
                self._guessing.hear(report)
            elif _WORKER.fullmatch(report.worker):
                self._delivery.step(report, now_s)
                for id_ in report.holding:
                    self._numbers_of(id_).learn(id_)
        if not self._waits_for_others(now_s):
            for name, listener in self._listeners.items():
                self._listen(name, listener, now_s)
        self._delivery.step(None, now_s)
        self._guessing.turn(now_s)
        if now_s - self._states_s >= STATE_S:
            self._states_s = now_s
            self._show_states()
            self._look_for_the_end(now_s)

    def _hear_journal(self, now_s: float) -> None:
        for message in self._commits:
            self._delivery.step(message, now_s)
            if isinstance(message, JournalHead):
                self._guessing.is_tapped = message.interims_wanted
                for known in message.committed:
                    self._forget(known._replace(number=1), known.number)
                    self._numbers_of(known).learn_committed(known)
                for known in message.highest:
                    self._numbers_of(known).learn(known)
            else:
                self._forget(message.utterance_id, message.utterance_id.number)
                failpoint("vad.commit.heard")

    def _forget(self, first: UtteranceId, last: int) -> None:
        if listener := self._listeners.get(first.source):
            listener.forget(first, last)

    def _numbers_of(self, id_: UtteranceId) -> Numbers:
        listener = self._listeners.get(id_.source)
        return listener.numbers if listener else Numbers()  # of a source that is not ours any more

    def _waits_for_others(self, now_s: float) -> bool:
        """An empty cut list may be a lost one: then only journal and the workers know which numbers were given.

        Without journal nothing can be published anyway, and what is said meanwhile is in the ring.
        """
        is_new = any(cuts.is_new for cuts in self._cuts.values())
        is_lost = any(listener.numbers for listener in self._listeners.values())
        patient = now_s - self._started_s < outbox.JOURNAL_PATIENCE_S
        return is_new and (not self._outbox.journal_heard or (is_lost and patient))

    def _listen(self, name: str, listener: Listener, now_s: float) -> None:
        for message in self._audio[name]:
            if message.source == name:
                self._send(listener.hear(message, now_s), now_s)
        self._send(listener.turn(now_s), now_s)

    def _send(self, messages: Iterable[object], now_s: float) -> None:
        for message in messages:
            match message:
                case Job() | Final() | Failed() | Gap():
                    failpoint("vad.cut.committed")
                    self._delivery.step(message, now_s)
                case SpeechStarted() | SpeechStopped():
                    self._delivery.tell(message)
                case ReplayRequest() | AudioProgress():
                    self._replay[message.source].send(message)

    def _look_for_the_end(self, now_s: float) -> None:
        """supervise ends the box when we have said that nothing is owed any more."""
        runtime_dir = self._node.settings.runtime_dir
        if not shutdown.is_bundle_stopping(runtime_dir):
            return
        self._ending_s = self._ending_s or now_s
        if all(state.state == "drained" for state in self._node.sources):
            shutdown.mark_drained(runtime_dir)

    def _show_states(self) -> None:
        level = self._guessing.level(time.monotonic())
        states = tuple(
            replace(each.state(), interims=level, **self._outbox.counts(name)) for name, each in self._listeners.items()
        )
        self._node.sources = states
        self._node.queue_depth = sum(state.backlog for state in states)
        for state in states:
            said = (state.state, state.detail if state.state == "live" else "")  # of a lost one it may change often
            if state.stream and said != self._announced[state.source]:
                self._announced[state.source] = said
                log.info("%s is %s %s", state.source, state.state, state.detail)
                news = {"state": state.state, "detail": state.detail}
                self._delivery.tell(Status(source=state.source, wall_ns=time.time_ns(), **news))

    def drain(self) -> None:
        """Told to stop. Where capture is stopping too, what was said is still delivered; else our successor goes on.

        Where all of the box ends there will be none: then what has no text in time is given up, and that is said.
        """
        now_s = time.monotonic()
        self._look_for_the_end(now_s)
        is_last = self._ending_s is not None
        listeners = self._listeners.values()
        self._turn_while(lambda: not all(listener.is_over for listener in listeners), now_s + STOPPING_PATIENCE_S)
        if is_last:
            self._end(listener for listener in listeners if not listener.is_over)
        self._turn_while(self._is_delivering, (self._ending_s or now_s) + DRAIN_S)
        if is_last:
            self._end(listener for listener in listeners if listener.state().state != "drained")
            self._give_up()
            self._turn_while(self._is_delivering, time.monotonic() + GIVE_UP_S)
        self._show_states()
        self._look_for_the_end(now_s)
        self._node.beat_now()

    def _turn_while(self, question: Callable[[], bool], deadline_s: float) -> None:
        while time.monotonic() < deadline_s and question():
            self._node.wait(self.wait_s())
            self.turn()
            self._node.beat()

    def _is_delivering(self) -> bool:
        """Whether something of what was heard to its end is not committed yet."""
        return any(listener.is_over and listener.state().state != "drained" for listener in self._listeners.values())

    def _end(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            self._send(listener.end(), time.monotonic())

    def _give_up(self) -> None:
        failed = [entry for listener in self._listeners.values() for entry in listener.give_up()]
        if failed:
            log.warning("stopping: %d utterances were not transcribed", len(failed))
        self._send(failed, time.monotonic())
