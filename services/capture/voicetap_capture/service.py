"""The work of capture: from the source into the ring, from the ring onto the bus."""

import faulthandler
import time
from collections.abc import Iterator
from typing import Protocol

from voicetap import links
from voicetap.messages import (
    FRAME_BYTES,
    SAMPLE_BYTES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    AudioHead,
    AudioProgress,
    ReplayRequest,
    SourceState,
)
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node

from . import replay
from .continuity import Continuity
from .framer import Framer
from .pacing import BURST_FRAMES, Pace
from .ring import Ring

HEAD_S = 0.1
STOP_TURN_S = 0.05


class Source(Protocol):
    """Where sound comes from. `read` never waits; `state` is live, lost or ended, and `detail` says how."""

    live: bool  # what is not read in time is gone; else it waits, and a new process goes on where the last one was
    realtime: bool  # to be read at the speed of life, although it could be read faster
    state: str
    detail: str

    def read(self, max_bytes: int) -> bytes: ...
    def wait_s(self) -> float: ...
    def close(self) -> None: ...


class Service:
    """Call `turn` in the work loop, and wait at most `wait_s` between two turns; `stop` at its end."""

    def __init__(self, node: Node, ring: Ring, source: Source, name: str):
        self._node = node
        self._ring = ring
        self._source = source
        self._name = name
        self._audio = node.sender(links.AUDIO.of(name))
        self._requests = node.receiver(links.REPLAY.of(name))
        self._framer = Framer(name, ring.stream, last := ring.last())
        self._pace = Pace(source.realtime, ring.slots, ring.next_seq, time.monotonic())
        self._loss = "capture_restart" if source.live and last else ""  # why the next sound comes after a hole
        self._continuity = Continuity()
        self._gaps = 0
        self._reader = ("", 0)  # the state it heard of, and the first frame it does not have
        self._announced: tuple[str, str] | None = None
        self._next_head_s = self._next_look_s = 0.0
        self._ended_s: float | None = None  # since when nothing more is taken from the source

    def turn(self) -> None:
        self._answer()
        self._look_for_the_end()
        if self._ended_s is not None:
            return self._announce("stopping", "")
        self._pump()
        self._announce(self._source.state, self._source.detail)

    def _look_for_the_end(self) -> None:
        """SIGTERM comes only when all that was heard is committed. Seldom: it is a look at the disk."""
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + HEAD_S
            if shutdown.is_bundle_stopping(self._node.settings.runtime_dir):
                self._end()

    def wait_s(self) -> float:
        """A head is never a reason to wake up earlier: sound comes more often."""
        return HEAD_S if self._ended_s is not None else min(HEAD_S, self._source_wait_s(time.monotonic()))

    def stop(self, bundle_stops: bool) -> None:
        """Commits what has arrived; if the bundle stops, says that nothing more comes, so that vad can finish."""
        self._end()
        if bundle_stops:
            self._say_goodbye()
        # all is said: closing a device of a sound server that is stopped, which never returns, may end like this
        faulthandler.dump_traceback_later(shutdown.CAPTURE_CLOSE_S, exit=True)

    def _end(self) -> None:
        if self._ended_s is None:
            self._ended_s = time.monotonic()
            self._pump()
            if self._source.live:
                self._publish(self._framer.flush())

    def _say_goodbye(self) -> None:
        drained = ("drained", self._ring.next_seq)
        while self._reader != drained and time.monotonic() < self._ended_s + shutdown.CAPTURE_DRAIN_S:
            self._next_head_s = 0.0
            self._announce("stopping", "")
            self._node.beat()
            self._node.wait(STOP_TURN_S)
            self._answer()

    def _source_wait_s(self, now_s: float) -> float:
        if self._source.state == "ended":
            return HEAD_S
        if self._source.live:
            return self._source.wait_s()
        return self._pace.wait_s(self._ring.next_seq, now_s) or self._source.wait_s()

    def _pump(self) -> None:
        if self._source.state == "ended":
            return
        due = self._frames_due()
        pcm = self._source.read(due * FRAME_BYTES) if due else b""
        if self._source.state == "live":
            self._take(pcm)
        else:
            self._publish(self._framer.flush(pcm))
            self._loss = "device_lost" if self._ring.next_seq else ""

    def _frames_due(self) -> int:
        if self._source.live:
            return BURST_FRAMES
        return self._pace.frames_due(self._ring.next_seq, time.monotonic())

    def _take(self, pcm: bytes) -> None:
        if not pcm:
            return
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if self._loss:
            self._gaps += self._framer.bridge(pcm, now_ns, self._loss) > 0
            self._loss = ""
            self._continuity = Continuity()
        self._publish(self._framer.feed(pcm, now_ns, wall_ns))
        if self._source.live and (missing := self._continuity.missing(len(pcm) // SAMPLE_BYTES, now_ns)):
            self._framer.skip(missing, "overflow")
            self._gaps += 1

    def _publish(self, frames: Iterator[AudioFrame]) -> None:
        for frame in frames:
            self._ring.commit(frame)  # first: what was heard can then be asked for again
            failpoint("capture.frame.committed")
            self._audio.send(frame)

    def _answer(self) -> None:
        """Sends the frames asked for: one piece per requester and turn, so that none can hold up the sound."""
        requests = {}
        for message in self._requests:
            if message.stream != self._ring.stream:
                continue  # of a ring that is gone; the next head tells its reader
            if isinstance(message, AudioProgress):
                self._pace.hear(message.needed_seq)
                self._reader = (message.state, message.next_seq)
            elif isinstance(message, ReplayRequest):
                requests[message.requester] = message
        for requester, request in requests.items():
            wanted = replay.span(request, self._ring.first_seq, self._ring.next_seq)
            for frame in replay.frames(wanted, self._ring.read):
                failpoint("capture.replay")
                self._audio.send(frame, f"replay/{requester}")

    def _announce(self, state: str, detail: str) -> None:
        changed = (state, detail) != self._announced
        if not changed and time.monotonic() < self._next_head_s:
            return
        self._next_head_s = max(self._next_head_s, time.monotonic() - HEAD_S) + HEAD_S
        self._audio.send(self._head(state, detail))
        self._node.sources = (self._source_state(state, detail),)
        if changed:
            self._announced = (state, detail)
            self._node.state = "degraded" if state == "lost" or detail else "ready"
            self._node.detail = detail
            self._node.beat_now()

    def _head(self, state: str, detail: str) -> AudioHead:
        return AudioHead(
            source=self._name,
            stream=self._ring.stream,
            first_seq=self._ring.first_seq,
            next_seq=self._ring.next_seq,
            next_position=self._ring.next_position,
            state=state,
            detail=detail,
        )

    def _source_state(self, state: str, detail: str) -> SourceState:
        return SourceState(
            source=self._name,
            stream=self._ring.stream,
            state=state,
            detail=detail,
            position_s=self._ring.next_position / SAMPLE_RATE_HZ,
            gaps=self._gaps,
        )
