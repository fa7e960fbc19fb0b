"""The capture service: reads the source into the ring, publishes the ring's frames, and replays them on request."""

import faulthandler
import time
from collections.abc import Iterator

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
from voicetap.vocabulary import Reason, ServiceState, SourceStatus

from .framer import DropDetector, Framer
from .rate_control import BURST_FRAMES, RateControl
from .ring import Ring, replay_frames, replay_span
from .sources import AudioSource

HEAD_S = 0.1
DRAIN_STEP_S = 0.05


class CaptureService:
    """Call `step` in the work loop and wait at most `wait_s` between two steps; call `shutdown` at the end."""

    def __init__(self, node: Node, ring: Ring, source: AudioSource, name: str):
        self._node = node
        self._ring = ring
        self._source = source
        self._name = name
        self._audio = node.sender(links.AUDIO.of(name))
        self._requests = node.receiver(links.REPLAY.of(name))
        self._framer = Framer(name, ring.stream, last := ring.last())
        self._rate = RateControl(source.realtime, ring.slots, ring.next_seq, time.monotonic())
        self._gap_reason = Reason.CAPTURE_RESTART if source.live and last else ""  # why a gap precedes the next audio
        self._drops = DropDetector()
        self._gaps = 0
        self._reader = ("", 0)  # state and next_seq of the last AudioProgress
        self._published: tuple[str, str, bool] | None = None  # state and detail of the last head, and is_starting
        self._next_head_s = self._next_check_s = 0.0
        self._stopped_s: float | None = None  # when the source was read for the last time

    def step(self) -> None:
        self._handle_requests()
        self._check_shutdown()
        if self._stopped_s is not None:
            return self._publish_head(SourceStatus.STOPPING, "")
        self._read_source()
        self._publish_head(self._source.state, self._source.detail)

    def wait_s(self) -> float:
        """A head that is due never shortens the wait: audio arrives more often."""
        return HEAD_S if self._stopped_s is not None else min(HEAD_S, self._source_wait_s(time.monotonic()))

    def shutdown(self, bundle_stops: bool) -> None:
        """Commits what has arrived; if the bundle stops, publishes that nothing more comes, so that vad can finish."""
        self._stop_reading()
        if bundle_stops:
            self._wait_until_drained()
        # All is published; closing a device of a stopped sound server never returns, and may end like this.
        faulthandler.dump_traceback_later(shutdown.CAPTURE_CLOSE_S, exit=True)

    def _check_shutdown(self) -> None:
        """A file marks that the bundle stops: SIGTERM follows only after all utterances are committed. Every HEAD_S."""
        if time.monotonic() >= self._next_check_s:
            self._next_check_s = time.monotonic() + HEAD_S
            if shutdown.is_bundle_stopping(self._node.settings.runtime_dir):
                self._stop_reading()

    def _stop_reading(self) -> None:
        if self._stopped_s is None:
            self._stopped_s = time.monotonic()
            self._read_source()
            if self._source.live:
                self._publish(self._framer.flush())

    def _wait_until_drained(self) -> None:
        drained = (SourceStatus.DRAINED, self._ring.next_seq)
        while self._reader != drained and time.monotonic() < self._stopped_s + shutdown.CAPTURE_DRAIN_S:
            self._next_head_s = 0.0
            self._publish_head(SourceStatus.STOPPING, "")
            self._node.beat()
            self._node.wait(DRAIN_STEP_S)
            self._handle_requests()

    def _source_wait_s(self, now_s: float) -> float:
        if self._source.state == SourceStatus.ENDED:
            return HEAD_S
        if self._source.live:
            return self._source.wait_s()
        return self._rate.wait_s(self._ring.next_seq, now_s) or self._source.wait_s()

    def _read_source(self) -> None:
        if self._source.state == SourceStatus.ENDED:
            return
        due = self._frames_due()
        pcm = self._source.read(due * FRAME_BYTES) if due else b""
        if due and self._source.jump:
            self._publish(self._framer.flush())
            self._framer.skip_to(self._source.jump.position, self._source.jump.reason)
            self._gaps += 1
        if self._source.state == SourceStatus.LIVE:
            self._on_audio(pcm)
        else:
            self._publish(self._framer.flush(pcm))
            self._gap_reason = Reason.DEVICE_LOST if self._source.live and self._ring.next_seq else ""

    def _frames_due(self) -> int:
        if self._source.live:
            return BURST_FRAMES
        return self._rate.frames_due(self._ring.next_seq, time.monotonic())

    def _on_audio(self, pcm: bytes) -> None:
        if not pcm:
            return
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if self._gap_reason:
            self._gaps += self._framer.skip_gap_before(pcm, now_ns, self._gap_reason) > 0
            self._gap_reason = ""
            self._drops = DropDetector()
        self._publish(self._framer.add(pcm, now_ns, wall_ns))
        if self._source.live and (missing := self._drops.update(len(pcm) // SAMPLE_BYTES, now_ns)):
            self._framer.skip(missing, Reason.OVERFLOW)
            self._gaps += 1

    def _publish(self, frames: Iterator[AudioFrame]) -> None:
        for frame in frames:
            self._ring.commit(frame)  # first, so that every frame published can be requested again
            failpoint("capture.frame.committed")
            self._audio.send(frame)

    def _handle_requests(self) -> None:
        """Sends the requested frames: one bounded piece per requester and step, so that none delays the audio."""
        requests = {}
        for message in self._requests:
            if message.stream != self._ring.stream:
                continue  # of a former ring; the next head names the new stream
            if isinstance(message, AudioProgress):
                self._rate.on_progress(message.needed_seq)
                self._reader = (message.state, message.next_seq)
            elif isinstance(message, ReplayRequest):
                requests[message.requester] = message
        for requester, request in requests.items():
            span = replay_span(request, self._ring.first_seq, self._ring.next_seq)
            for frame in replay_frames(span, self._ring.read):
                failpoint("capture.replay")
                self._audio.send(frame, f"replay/{requester}")

    def _publish_head(self, state: str, detail: str) -> None:
        """Every HEAD_S; at once when something changed, and then with a heartbeat."""
        changed = (state, detail, self._source.is_starting) != self._published
        if not changed and time.monotonic() < self._next_head_s:
            return
        self._next_head_s = max(self._next_head_s, time.monotonic() - HEAD_S) + HEAD_S
        self._audio.send(self._head(state, detail))
        self._node.sources = (self._source_state(state, detail),)
        if changed:
            self._published = (state, detail, self._source.is_starting)
            self._node.state = self._service_state(state, detail)
            self._node.detail = detail
            self._node.beat_now()

    def _service_state(self, state: str, detail: str) -> ServiceState:
        if self._source.is_starting:
            return ServiceState.STARTING
        return ServiceState.DEGRADED if state == SourceStatus.LOST or detail else ServiceState.READY

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
            detail=detail or self._source.note,
            position_s=self._ring.next_position / SAMPLE_RATE_HZ,
            gaps=self._gaps,
        )
