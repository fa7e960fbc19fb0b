"""One source: what capture says about it, its stream of the moment, and what there is to ask capture for."""

from dataclasses import replace

from voicetap.codec import UtteranceId
from voicetap.messages import (
    FRAME_BYTES,
    AudioFrame,
    AudioHead,
    AudioProgress,
    Failed,
    ReplayRequest,
    SourceState,
)
from voicetap.settings import VadSettings

from .cutlist import FAILED, OPEN, SPEECH, Cut, CutList, Mark
from .entries import entry_of
from .numbers import Numbers
from .silero import Silero
from .stream import Said, Stream

FRAMES_PER_TURN = 64  # about 10 ms of work: catching up starves neither live frames nor the heartbeat
GATHER_FRAMES = 5  # at once while nobody speaks: an onset, which takes three, is seen two frames late at most
CAPTURE_SILENT_S = 1.0  # its head comes ten times a second
PROGRESS_S, PROGRESS_FRAMES = 1.0, 32  # whichever is first: in real time both are the same
LAST_PROGRESS_S = 0.1  # at the end: capture waits, before it goes, until everything is drained

Heard = AudioFrame | AudioHead


class Listener:
    """`hear` what comes from capture, then take a `turn`; both return what is to be sent."""

    def __init__(self, source: str, requester: str, cuts: CutList, silero: Silero, settings: VadSettings):
        self.source = source
        self._requester = requester
        self._cuts = cuts
        self._silero = silero
        self._settings = settings
        self._stream: Stream | None = None
        self._head: AudioHead | None = None
        self._head_s = 0.0
        self._lost_since_s: float | None = None
        self._progress_s = 0.0
        self._progress_seq = 0
        self._in_real_time = False
        self.captured_ns = 0  # of the frame that came last
        self._refused = 0
        self._has_ended = False
        self.numbers = Numbers()

    @property
    def is_behind(self) -> bool:
        """There is work for another turn at once."""
        return self._stream is not None and self._stream.order.waiting > 0

    @property
    def is_quiet(self) -> bool:
        """Nothing is to be said or asked before more frames come, and they come one by one."""
        return self._in_real_time and self._stream is not None and self._stream.is_quiet

    @property
    def is_over(self) -> bool:
        """Nothing more will come: capture said so, or we do not hear it any more."""
        return self._has_ended or (self._head is not None and self._head.state in ("ended", "stopping"))

    @property
    def drops(self) -> int:
        return self._refused + (self._stream.order.drops if self._stream else 0)

    def hear(self, message: Heard, now_s: float) -> list[Said]:
        if self._has_ended:
            return []
        if isinstance(message, AudioHead):
            return self._hear_head(message, now_s)
        if len(message.pcm) != FRAME_BYTES:
            self._refused += 1
        elif self._stream and message.stream == self._stream.name:
            self._stream.order.offer(message)
            self.captured_ns = message.captured_ns
        return []  # of a stream whose head is still to come: it is fetched from the ring then

    def forget(self, first: UtteranceId, last: int) -> None:
        """journal has committed the numbers from `first` to `last` of that stream."""
        self._cuts.forget(first.stream, first.number, last)
        self._cuts.commit()
        if self._stream and self._stream.name == first.stream:
            self._stream.forget(first.number, last)

    def turn(self, now_s: float) -> list[Said | ReplayRequest | AudioProgress]:
        if self._has_ended or not (stream := self._stream):
            return []
        frames = stream.order.take(FRAMES_PER_TURN)
        said = stream.feed(frames)
        self._in_real_time = len(frames) <= GATHER_FRAMES
        self._watch(now_s)
        if stream.order.complete and (stream.is_open or (self.is_over and stream.has_undecided)):
            said += self._close_if_over(stream, now_s)
        return said + self._requests(stream, now_s)

    def end(self) -> list[Said]:
        """The box ends: what has come until now is all there is, and what is missing will not be fetched any more."""
        if self._has_ended:
            return []
        self._has_ended = True
        return self._leave(self._stream, "stopped") if self._stream else []

    def give_up(self) -> list[Failed]:
        """The box ends: what journal has not committed will not be transcribed."""
        failed = [self._fail(cut, "stopped") for cut in self._cuts.cuts() if cut.kind in (OPEN, SPEECH)]
        self._cuts.commit()
        return failed

    def state(self) -> SourceState:
        stream, backlog = self._stream, self._cuts.backlog()
        if not stream:
            state = "drained" if self._has_ended and not backlog else "lost"
            return SourceState(source=self.source, stream="", state=state, detail="not heard yet", backlog=backlog)
        done = self._has_ended or (self.is_over and stream.order.complete and not stream.is_open)
        lost = self._lost_since_s is not None
        silent = lost and self._head.state == "live"
        return SourceState(
            source=self.source,
            stream=stream.name,
            state="drained" if done and not backlog else "ended" if self.is_over else "lost" if lost else "live",
            detail="capture is silent" if silent else self._head.detail,
            position_s=stream.position_s,
            backlog=backlog,
            gaps=stream.gaps,
        )

    # ---- what may be worth hearing before it is final: only of what is said just now ---------------

    @property
    def open_stream(self) -> Stream | None:
        """The stream, if somebody speaks in it, and all of it has been heard."""
        stream = self._stream
        is_live = self._in_real_time and not self._has_ended and stream is not None and stream.order.complete
        return stream if is_live and stream.is_open else None

    def _hear_head(self, head: AudioHead, now_s: float) -> list[Said]:
        said = []
        if self._stream and self._stream.name == head.stream:
            self._stream.order.hear_head(head.first_seq, head.next_seq)
        else:
            said += self._change_stream(head)
        if self._head and head.state != self._head.state:
            self._progress_s = 0.0  # said at once: a capture that ends waits for it
        self._head, self._head_s = head, now_s
        return said

    def _change_stream(self, head: AudioHead) -> list[Said]:
        said = self._leave(self._stream, "overrun") if self._stream else self._resend(head.stream)
        mark = self._cuts.mark(head.stream)
        self._stream = Stream(head, mark or self._new_mark(head), self._cuts, self._silero, self._settings)
        if not mark and self.numbers.highest(head.stream):
            said += self._stream.say_lost(self.numbers.unsettled(head.stream))
        return said

    def _leave(self, stream: Stream, reason: str) -> list[Said]:
        """Goes through what is here of a stream; what is not is a gap."""
        said = stream.feed(stream.order.take(stream.order.waiting))
        return said + stream.abandon(self._head.next_position, reason)

    def _new_mark(self, head: AudioHead) -> Mark:
        if number := self.numbers.highest(head.stream):  # our list was lost: what is older was said, or never will be
            return Mark(head.stream, head.next_seq, head.next_position, last_number=number)
        return Mark(head.stream, head.first_seq, 0)

    def _resend(self, stream: str) -> list[Said]:
        """After a restart: what needs no sound, and what will never get any because its ring is gone."""
        said = []
        for cut in self._cuts.cuts():
            if cut.stream != stream and cut.kind in (OPEN, SPEECH):
                said.append(self._fail(cut, "overrun"))
            elif cut.kind not in (OPEN, SPEECH):
                said.append(entry_of(self.source, cut))
        self._cuts.commit()
        return said

    def _fail(self, cut: Cut, reason: str) -> Failed:
        self._cuts.put(cut := replace(cut, kind=FAILED, reason=reason))
        return entry_of(self.source, cut)

    def _watch(self, now_s: float) -> None:
        silent = self._head.state == "live" and now_s - self._head_s > CAPTURE_SILENT_S
        if self._head.state != "lost" and not silent:
            self._lost_since_s = None
        elif self._lost_since_s is None:
            self._lost_since_s = now_s

    def _close_if_over(self, stream: Stream, now_s: float) -> list[Said]:
        if self.is_over:
            return stream.close("source_ended")
        endpoint_s = self._settings.endpoint_ms / 1000
        lost = self._lost_since_s is not None and now_s - self._lost_since_s >= endpoint_s
        return stream.close("source_lost") if lost else []

    def _requests(self, stream: Stream, now_s: float) -> list[ReplayRequest | AudioProgress]:
        if now_s - self._head_s > CAPTURE_SILENT_S:
            return []  # nobody is there; what is asked now would only queue up
        requests: list[ReplayRequest | AudioProgress] = []
        if missing := stream.order.missing(now_s):
            common = {"source": self.source, "stream": stream.name, "requester": self._requester}
            requests.append(ReplayRequest(from_seq=missing[0], to_seq=missing[1], **common))
        return requests + self._progress(stream, now_s)

    def _progress(self, stream: Stream, now_s: float) -> list[AudioProgress]:
        every_s = PROGRESS_S if self._head.state == "live" else LAST_PROGRESS_S
        if now_s - self._progress_s < every_s and stream.order.next_seq - self._progress_seq < PROGRESS_FRAMES:
            return []
        self._progress_s, self._progress_seq = now_s, stream.order.next_seq
        state = "drained" if self.is_over and self.state().state == "drained" else self._head.state
        where = {"needed_seq": stream.needed_seq(), "next_seq": stream.order.next_seq, "state": state}
        return [AudioProgress(source=self.source, stream=stream.name, **where)]
