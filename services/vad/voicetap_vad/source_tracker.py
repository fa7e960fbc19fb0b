"""One source: the state that capture reports, its current stream, and the requests to capture."""

from dataclasses import replace

from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, AudioFrame, AudioHead, AudioProgress, Failed, ReplayRequest, SourceState
from voicetap.settings import VadSettings
from voicetap.vocabulary import CutReason, Reason, SourceStatus

from .segment_store import Checkpoint, Segment, SegmentKind, SegmentStore, entry_of
from .silero import Silero
from .stream import Output, Stream

FRAMES_PER_STEP = 64  # about 10 ms of work: catching up starves neither live frames nor the heartbeat
BATCH_FRAMES = 5  # processed together during silence: an onset of three frames is seen two frames late at most
HEAD_TIMEOUT_S = 1.0  # capture sends its head ten times a second
PROGRESS_S, PROGRESS_FRAMES = 1.0, 32  # whichever is first; in real time they coincide
STOPPING_PROGRESS_S = 0.1  # a capture that stops waits until everything is drained

_UNFINISHED = (SegmentKind.OPEN, SegmentKind.SPEECH)


class UtteranceNumbers:
    """Highest and committed utterance numbers per stream.

    Learned from peers, so that a lost segment store never reuses one.
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._committed: dict[str, int] = {}  # every number up to this one

    def __bool__(self) -> bool:
        """Whether a peer has reported any number."""
        return bool(self._highest)

    def record(self, id_: UtteranceId) -> None:
        """A worker or journal has this one."""
        self._highest[id_.stream] = max(id_.number, self.highest(id_.stream))

    def record_committed(self, id_: UtteranceId) -> None:
        """journal has committed every number of the stream up to this one."""
        self.record(id_)
        self._committed[id_.stream] = id_.number

    def highest(self, stream: str) -> int:
        """0 if there is none."""
        return self._highest.get(stream, 0)

    def uncommitted(self, stream: str) -> range:
        """The numbers up to the highest that may have no entry in journal."""
        return range(self._committed.get(stream, 0) + 1, self.highest(stream) + 1)


class SourceTracker:
    """Pass it capture's messages with `on_head` and `on_frame`, then call `step`; send the messages they return."""

    def __init__(self, source: str, requester: str, store: SegmentStore, silero: Silero, settings: VadSettings):
        self.source = source
        self._requester = requester
        self._store = store
        self._silero = silero
        self._settings = settings
        self._stream: Stream | None = None
        self._head: AudioHead | None = None
        self._head_s = 0.0
        self._lost_since_s: float | None = None
        self._progress_s = 0.0
        self._progress_seq = 0
        self._is_real_time = False
        self.captured_ns = 0  # of the newest frame
        self._refused = 0
        self._is_closed = False
        self.numbers = UtteranceNumbers()

    @property
    def is_behind(self) -> bool:
        """Whether frames wait for another step."""
        return self._stream is not None and self._stream.reorder_buffer.ready_count > 0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be sent before more frames arrive, and they arrive in real time."""
        return self._is_real_time and self._stream is not None and self._stream.is_quiet

    @property
    def is_over(self) -> bool:
        """Whether no more frames will come: capture reported it, or this tracker is closed."""
        ended = (SourceStatus.ENDED, SourceStatus.STOPPING)
        return self._is_closed or (self._head is not None and self._head.state in ended)

    @property
    def warning(self) -> str:
        """What people should know about the sound of a live source."""
        return self._stream.meter.warning if self._stream and self._status() == SourceStatus.LIVE else ""

    @property
    def drops(self) -> int:
        return self._refused + (self._stream.reorder_buffer.drops if self._stream else 0)

    @property
    def open_stream(self) -> Stream | None:
        """The stream while an utterance is open in it and every frame was processed: then partials are worthwhile."""
        stream = self._stream
        is_live = self._is_real_time and not self._is_closed and stream is not None
        return stream if is_live and stream.reorder_buffer.is_complete and stream.is_open else None

    def on_head(self, head: AudioHead, now_s: float) -> list[Output]:
        if self._is_closed:
            return []
        outputs = []
        if self._stream and self._stream.name == head.stream:
            self._stream.reorder_buffer.on_head(head.first_seq, head.next_seq)
        else:
            outputs += self._switch_stream(head)
        if self._head and head.state != self._head.state:
            self._progress_s = 0.0  # report progress at once: a capture that ends waits for it
        self._head, self._head_s = head, now_s
        return outputs

    def on_frame(self, frame: AudioFrame) -> None:
        """A frame of a stream without a head yet is ignored; it is fetched from the ring later."""
        if self._is_closed:
            return
        if len(frame.pcm) != FRAME_BYTES:
            self._refused += 1
        elif self._stream and frame.stream == self._stream.name:
            self._stream.reorder_buffer.add(frame)
            self.captured_ns = frame.captured_ns

    def on_committed(self, first: UtteranceId, last: int) -> None:
        """journal has committed the numbers of that stream from `first` to `last`."""
        self._store.drop(first.stream, first.number, last)
        self._store.commit()
        if self._stream and self._stream.name == first.stream:
            self._stream.on_committed(first.number, last)

    def step(self, now_s: float) -> list[Output | ReplayRequest | AudioProgress]:
        if self._is_closed or not (stream := self._stream):
            return []
        frames = stream.reorder_buffer.pop(FRAMES_PER_STEP)
        outputs = stream.on_frames(frames)
        self._is_real_time = len(frames) <= BATCH_FRAMES
        self._update_lost(now_s)
        if stream.reorder_buffer.is_complete and (stream.is_open or (self.is_over and stream.has_undecided)):
            outputs += self._close_if_over(stream, now_s)
        return outputs + self._requests(stream, now_s)

    def close(self) -> list[Output]:
        """The bundle stops: processes the frames that have arrived; missing ones are not fetched any more."""
        if self._is_closed:
            return []
        self._is_closed = True
        return self._abandon(self._stream, Reason.STOPPED) if self._stream else []

    def fail_pending(self) -> list[Failed]:
        """The bundle stops: fails what journal has not committed."""
        pending = [segment for segment in self._store.segments() if segment.kind in _UNFINISHED]
        failed = [self._fail(segment, Reason.STOPPED) for segment in pending]
        self._store.commit()
        return failed

    def state(self) -> SourceState:
        stream, backlog = self._stream, self._store.backlog()
        if not stream:
            state = SourceStatus.DRAINED if self._is_closed and not backlog else SourceStatus.LOST
            return SourceState(source=self.source, stream="", state=state, detail="no audio yet", backlog=backlog)
        is_done = self._is_closed or (self.is_over and stream.reorder_buffer.is_complete and not stream.is_open)
        is_silent = self._lost_since_s is not None and self._head.state == SourceStatus.LIVE
        return SourceState(
            source=self.source,
            stream=stream.name,
            state=SourceStatus.DRAINED if is_done and not backlog else self._status(),
            detail="capture is silent" if is_silent else self._head.detail or self.warning,
            position_s=stream.position_s,
            backlog=backlog,
            gaps=stream.gaps,
            level_dbfs=round(stream.meter.level_dbfs, 1),
            noise_dbfs=round(stream.meter.noise_dbfs, 1),
            clipping=round(stream.meter.clipping, 4),
        )

    def _status(self) -> SourceStatus:
        if self.is_over:
            return SourceStatus.ENDED
        return SourceStatus.LIVE if self._lost_since_s is None else SourceStatus.LOST

    def _switch_stream(self, head: AudioHead) -> list[Output]:
        outputs = self._abandon(self._stream, Reason.OVERRUN) if self._stream else self._recover(head.stream)
        checkpoint = self._store.load_checkpoint(head.stream)
        resume_at = checkpoint or self._initial_checkpoint(head)
        self._stream = Stream(head, resume_at, self._store, self._silero, self._settings)
        if not checkpoint and self.numbers.highest(head.stream):
            outputs += self._stream.fail_lost(self.numbers.uncommitted(head.stream))
        return outputs

    def _abandon(self, stream: Stream, reason: str) -> list[Output]:
        """Processes the frames that have arrived; the missing ones become a gap."""
        outputs = stream.on_frames(stream.reorder_buffer.pop(stream.reorder_buffer.ready_count))
        return outputs + stream.abandon(self._head.next_position, reason)

    def _initial_checkpoint(self, head: AudioHead) -> Checkpoint:
        if number := self.numbers.highest(head.stream):  # the store was lost: older frames may have been decided
            return Checkpoint(head.stream, head.next_seq, head.next_position, last_number=number)
        return Checkpoint(head.stream, head.first_seq, 0)

    def _recover(self, stream: str) -> list[Output]:
        """After a restart: entries that need no frames, and segments whose frames are gone with an older ring."""
        outputs = []
        for segment in self._store.segments():
            if segment.stream != stream and segment.kind in _UNFINISHED:
                outputs.append(self._fail(segment, Reason.OVERRUN))
            elif segment.kind not in _UNFINISHED:
                outputs.append(entry_of(self.source, segment))
        self._store.commit()
        return outputs

    def _fail(self, segment: Segment, reason: str) -> Failed:
        self._store.save(segment := replace(segment, kind=SegmentKind.FAILED, reason=reason))
        return entry_of(self.source, segment)

    def _update_lost(self, now_s: float) -> None:
        is_silent = self._head.state == SourceStatus.LIVE and now_s - self._head_s > HEAD_TIMEOUT_S
        if self._head.state != SourceStatus.LOST and not is_silent:
            self._lost_since_s = None
        elif self._lost_since_s is None:
            self._lost_since_s = now_s

    def _close_if_over(self, stream: Stream, now_s: float) -> list[Output]:
        if self.is_over:
            return stream.close(CutReason.SOURCE_ENDED)
        endpoint_s = self._settings.endpoint_ms / 1000
        is_lost = self._lost_since_s is not None and now_s - self._lost_since_s >= endpoint_s
        return stream.close(CutReason.SOURCE_LOST) if is_lost else []

    def _requests(self, stream: Stream, now_s: float) -> list[ReplayRequest | AudioProgress]:
        if now_s - self._head_s > HEAD_TIMEOUT_S:
            return []  # capture does not answer; requests would only queue up
        requests: list[ReplayRequest | AudioProgress] = []
        if missing := stream.reorder_buffer.next_request(now_s):
            common = {"source": self.source, "stream": stream.name, "requester": self._requester}
            requests.append(ReplayRequest(from_seq=missing[0], to_seq=missing[1], **common))
        return requests + self._progress(stream, now_s)

    def _progress(self, stream: Stream, now_s: float) -> list[AudioProgress]:
        every_s = PROGRESS_S if self._head.state == SourceStatus.LIVE else STOPPING_PROGRESS_S
        next_seq = stream.reorder_buffer.next_seq
        if now_s - self._progress_s < every_s and next_seq - self._progress_seq < PROGRESS_FRAMES:
            return []
        self._progress_s, self._progress_seq = now_s, next_seq
        is_drained = self.is_over and self.state().state == SourceStatus.DRAINED
        state = SourceStatus.DRAINED if is_drained else self._head.state
        where = {"needed_seq": stream.needed_seq(), "next_seq": next_seq, "state": state}
        return [AudioProgress(source=self.source, stream=stream.name, **where)]
