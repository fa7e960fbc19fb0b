"""One stream of a source: frames in; speech events, jobs and entries out. Decides, commits, then returns them.

A segment decided by an earlier vad is never cut again: only its frames are collected. An utterance which that vad had
announced is continued from its first frame; otherwise deciding resumes at the checkpoint. In either case the model is
warmed up with the frames before, and the level follower with those before these.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from voicetap.messages import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    AudioHead,
    Failed,
    Final,
    Gap,
    Hypothesis,
    Interim,
    Job,
    SpeechStarted,
    SpeechStopped,
)
from voicetap.service.failpoint import failpoint
from voicetap.settings import VadSettings
from voicetap.vocabulary import CutReason, Purpose, Reason

from .frame_buffer import FrameBuffer, FrameScorer
from .level import FORGET_FRAMES, LevelMeter
from .partials import NEVER, PartialTracker
from .reorder_buffer import ReorderBuffer
from .segment_store import (
    Checkpoint,
    Segment,
    SegmentKind,
    SegmentStore,
    entry_of,
    id_of,
    started_of,
    stopped_of,
)
from .segmenter import ScoredFrame, Segmenter, SegmentEvent, UtteranceEnded, UtteranceStarted
from .silero import Silero

WARM_UP_FRAMES = 63  # two seconds, after which the model agrees with one that never stopped
# The level's warm-up is requested, but capture is not asked to keep it: it keeps an eighth of its ring anyway, and
# without these frames only probabilities differ a little, in the first seconds of sound that is not decided yet.
LEVEL_WARM_UP_FRAMES = FORGET_FRAMES + WARM_UP_FRAMES
CHECKPOINT_SAMPLES = SAMPLE_RATE_HZ  # of silence between two checkpoints

Output = SpeechStarted | SpeechStopped | Job | Final | Failed | Gap


class DecisionLog:
    """The segments and the checkpoint of one stream in the store; committed before anything of them is sent."""

    def __init__(self, source: str, checkpoint: Checkpoint, store: SegmentStore):
        self._source = source
        self.checkpoint = checkpoint
        self._store = store

    def commit(self) -> None:
        self._store.commit()

    def needed_seq(self) -> int:
        """The oldest frame that a restart would have to decide or to send."""
        oldest_seq = self._store.oldest_seq(self.checkpoint.stream)
        return self.checkpoint.seq if oldest_seq is None else min(oldest_seq, self.checkpoint.seq)

    def save(self, segment: Segment) -> None:
        self._store.save(segment)

    def update(self, **changes: int) -> None:
        """Changes fields of the checkpoint."""
        self.checkpoint = replace(self.checkpoint, **changes)
        self._store.save_checkpoint(self.checkpoint)

    def open(self, started: UtteranceStarted, first: AudioFrame) -> Segment:
        """A new segment, whose end is not known yet."""
        segment = Segment(
            stream=self.checkpoint.stream,
            number=self._next_number(),
            kind=SegmentKind.OPEN,
            first_seq=started.first_seq,
            last_seq=started.first_seq,
            onset_seq=started.onset_seq,
            start_position=first.position,
            end_position=first.position,
            wall_ns=first.wall_ns,
            continues=started.continues,
        )
        self.save(segment)
        return segment

    def fail(self, segment: Segment, reason: str = Reason.OVERRUN) -> Failed:
        segment = replace(segment, kind=SegmentKind.FAILED, reason=reason)
        self.save(segment)
        return entry_of(self._source, segment)

    def add_gap(self, seq: int, start_position: int, end_position: int, wall_ns: int, reason: str) -> Gap:
        gap = Segment(
            stream=self.checkpoint.stream,
            number=self._next_number(),
            kind=SegmentKind.GAP,
            first_seq=seq,
            last_seq=seq,
            onset_seq=seq,
            start_position=start_position,
            end_position=end_position,
            wall_ns=wall_ns,
            reason=reason,
        )
        self.save(gap)
        self.update(gaps=self.checkpoint.gaps + 1, gap_seq=max(seq, self.checkpoint.gap_seq))
        return entry_of(self._source, gap)

    def _next_number(self) -> int:
        self.update(last_number=self.checkpoint.last_number + 1)
        return self.checkpoint.last_number


class Stream:
    """Pass the frames popped from `reorder_buffer` to `on_frames`. Everything it returns is committed already."""

    def __init__(
        self, head: AudioHead, checkpoint: Checkpoint, store: SegmentStore, silero: Silero, settings: VadSettings
    ):
        self.name = head.stream
        self._source = head.source
        self._decisions = DecisionLog(head.source, checkpoint, store)
        self._scorer = FrameScorer(silero)
        self._segmenter = Segmenter(settings)
        self._endpoint_samples = settings.endpoint_ms * SAMPLE_RATE_HZ // 1000
        self._frames = FrameBuffer(head.source)
        self.partial: PartialTracker | None = None  # of the newest utterance
        restored = [segment for segment in store.segments() if segment.stream == self.name]
        self._pending = [segment for segment in restored if segment.kind == SegmentKind.SPEECH]  # to be fetched
        self._open = next((segment for segment in restored if segment.kind == SegmentKind.OPEN), None)
        self._decide_from_seq = self._open.first_seq if self._open else checkpoint.seq
        self._decided_end = self._open.start_position if self._open else checkpoint.position
        self._decided_to_seq = self._decide_from_seq
        if self._open:
            started = UtteranceStarted(self._open.first_seq, self._open.onset_seq, bool(self._open.continues))
            self._segmenter.restore(started)
            self.partial = PartialTracker(id_of(self._source, self._open), self._open.start_position)
        warm_up_seq = self._decide_from_seq - LEVEL_WARM_UP_FRAMES
        oldest_seq = min([segment.first_seq for segment in self._pending] + [warm_up_seq])
        self.reorder_buffer = ReorderBuffer(max(head.first_seq, oldest_seq))
        self.reorder_buffer.on_head(head.first_seq, head.next_seq)

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def has_undecided(self) -> bool:
        """Whether frames were processed beyond the checkpoint: the latest silence."""
        return self._decided_to_seq > self._decisions.checkpoint.seq

    @property
    def is_quiet(self) -> bool:
        """No utterance is open or pending, and every available frame was processed."""
        return self._segmenter.is_quiet and not self._open and not self._pending and self.reorder_buffer.is_complete

    @property
    def meter(self) -> LevelMeter:
        return self._scorer.meter

    @property
    def gaps(self) -> int:
        return self._decisions.checkpoint.gaps

    @property
    def position_s(self) -> float:
        return self._decided_end / SAMPLE_RATE_HZ

    def needed_seq(self) -> int:
        """The oldest frame that a restart would require."""
        return max(0, self._decisions.needed_seq() - WARM_UP_FRAMES)

    def on_frames(self, frames: list[AudioFrame]) -> list[Output]:
        from_seq = self._decide_from_seq - WARM_UP_FRAMES
        self._scorer.warm_up(frame for frame in frames if frame.seq < from_seq)
        probabilities = self._scorer.probabilities(frame for frame in frames if frame.seq >= from_seq)
        return [output for frame in frames for output in self._on_frame(frame, probabilities)]

    def _on_frame(self, frame: AudioFrame, probabilities: dict[int, float]) -> list[Output]:
        is_undecided = frame.seq >= self._decide_from_seq
        self._frames.add(frame, probabilities[frame.seq] if is_undecided else None)
        outputs = self._release_pending(lambda segment: segment.last_seq <= frame.seq)
        if is_undecided:
            outputs += self._decide(frame, probabilities[frame.seq])
        self._frames.drop_before(self._kept_from_seq(frame))
        self._decisions.commit()
        return outputs

    def close(self, reason: str) -> list[Output]:
        """The source is lost or at its end, and all its frames were processed: ends the open utterance here."""
        cut_off = self.is_open and reason == CutReason.SOURCE_LOST
        outputs = self._on_events(self._segmenter.close(reason))
        if self._open:  # announced by an earlier vad, and none of its frames can be fetched
            outputs.append(self._decisions.fail(self._open))
            self._open = None
        if self.has_undecided:
            self._decisions.update(seq=self._decided_to_seq, position=self._decided_end)
        if cut_off:
            self._decisions.update(cut_off=True)
        self._decisions.commit()
        return outputs

    def abandon(self, last_position: int, reason: str) -> list[Output]:
        """The stream is over, and its missing frames will never arrive. `last_position`: where it ended."""
        outputs = self._release_pending(lambda segment: True)
        outputs += self.close(CutReason.SOURCE_LOST)
        if last_position > self._decided_end:
            seq = self._decisions.checkpoint.seq
            outputs.append(self._decisions.add_gap(seq, self._decided_end, last_position, 0, reason))
        self._decisions.commit()
        return outputs

    def fail_lost(self, numbers: Iterable[int]) -> list[Output]:
        """Fails `numbers`, whose segments were lost with the store, and marks with a gap where deciding resumes."""
        seq, position = self._decisions.checkpoint.seq - 1, self._decided_end
        lost = [
            Segment(self.name, number, SegmentKind.OPEN, seq, seq, seq, position, position, 0) for number in numbers
        ]
        outputs = [self._decisions.fail(segment, Reason.CUTS_LOST) for segment in lost]
        outputs.append(self._decisions.add_gap(seq, position, position, 0, Reason.CUTS_LOST))
        self._decisions.commit()
        return outputs

    def on_committed(self, first: int, last: int) -> None:
        """journal has committed the numbers from `first` to `last`."""
        self._pending = [segment for segment in self._pending if not first <= segment.number <= last]

    # ---- speculative jobs: neither committed nor owed ------------------------------------------------

    def pause_ends_in_s(self) -> float | None:
        """How soon the current pause may be the endpoint; None if it has no early job to request."""
        pause = self._segmenter.pause
        is_new = pause is not None and self._open is not None and self.partial.is_new_pause(pause)
        return self._segmenter.samples_to_endpoint / SAMPLE_RATE_HZ if is_new else None

    def early_job(self) -> Job:
        """The very job that will be final if the current pause is the endpoint."""
        pause = self._segmenter.pause
        self.partial.request_early(pause, self._decided_end)
        return self._frames.job(self._segment_to(pause[1], SegmentKind.SPEECH, CutReason.SILENCE), Purpose.EARLY)

    def partial_overdue(self, period_s: float) -> float:
        """How long a partial has been due, in samples; negative: not due yet, or no speech."""
        return self.partial.overdue(self._decided_end, period_s) if self._segmenter.is_speaking else NEVER

    def partial_job(self) -> Job:
        """The newest sound of the open utterance, from where its committed words end."""
        start = self.partial.request_partial(self._decided_end)
        first = self._frames.first_at(start, self._open.first_seq)
        segment = self._segment_to(self._decided_to_seq - 1, SegmentKind.OPEN, "")
        window = replace(segment, first_seq=first.seq, start_position=first.position)
        return self._frames.job(window, Purpose.INTERIM)

    def on_hypothesis(self, hypothesis: Hypothesis) -> Interim | None:
        """The partial to publish, if any. The text before the current pause also sets its required length."""
        if hypothesis.utterance_id != self.partial.utterance_id:
            return None
        pause = self._segmenter.pause
        if pause and hypothesis.end_position == self._frames[pause[1]].position + FRAME_SAMPLES:
            self._segmenter.endpointer.on_hypothesis(hypothesis)
        return self.partial.on_hypothesis(hypothesis)

    # ---- deciding -----------------------------------------------------------------------------

    def _decide(self, frame: AudioFrame, probability: float) -> list[Output]:
        outputs = self._on_gap(frame) if frame.position > self._decided_end else []
        self._decided_end, self._decided_to_seq = frame.position + FRAME_SAMPLES, frame.seq + 1
        outputs += self._on_events(self._segment(ScoredFrame(frame.seq, frame.position, probability)))
        if self._open:
            self.meter.on_speech()
        oldest = self._segmenter.oldest
        seq, position = (oldest.seq, oldest.position) if oldest else (self._decided_to_seq, self._decided_end)
        if not self._open and position - self._decisions.checkpoint.position >= CHECKPOINT_SAMPLES:
            self._decisions.update(seq=seq, position=position)
        return outputs

    def _segment(self, frame: ScoredFrame) -> list[SegmentEvent]:
        if not self._decisions.checkpoint.cut_off:
            return self._segmenter.on_frame(frame)
        self._decisions.update(cut_off=False)
        return self._segmenter.continue_speech([frame])

    def _on_gap(self, frame: AudioFrame) -> list[Output]:
        """Sound is missing before `frame`: a short gap is bridged with silence, a long one ends the utterance."""
        outputs = []
        is_long = frame.position - self._decided_end >= self._endpoint_samples
        is_lost = is_long and frame.seq > self._decided_to_seq  # frames are missing too, not only the device's sound
        if is_long:
            outputs += self.close(CutReason.SOURCE_LOST)
            self._decisions.update(cut_off=False)
        if is_lost or frame.seq > self._decisions.checkpoint.gap_seq:
            reason = Reason.OVERRUN if is_lost else frame.gap_reason or Reason.OVERRUN
            gap = self._decisions.add_gap(frame.seq, self._decided_end, frame.position, frame.wall_ns, reason)
            outputs.append(gap)
        if is_lost:
            self._decisions.update(seq=frame.seq, position=frame.position)
        return outputs

    def _on_events(self, events: list[SegmentEvent]) -> list[Output]:
        outputs = []
        for event in events:
            outputs += [self._on_started(event)] if isinstance(event, UtteranceStarted) else self._on_ended(event)
        return outputs

    def _on_started(self, event: UtteranceStarted) -> SpeechStarted:
        first, onset = self._frames[event.first_seq], self._frames[event.onset_seq]
        self._open = self._decisions.open(event, first)
        self.partial = PartialTracker(id_of(self._source, self._open), first.position, onset, self.partial)
        return started_of(self._source, self._open, onset)

    def _on_ended(self, event: UtteranceEnded) -> list[Output]:
        kind = SegmentKind.SHORT if event.too_short else SegmentKind.SPEECH
        segment = self._segment_to(event.last_seq, kind, event.reason)
        segment = replace(segment, speech=self._frames.speech_of(segment).hex())  # a recovered job has the same
        self._open = None
        self._decisions.save(segment)
        failpoint("vad.segment.decided")
        self._decisions.update(seq=segment.last_seq + 1, position=segment.end_position)
        result = entry_of(self._source, segment) if event.too_short else self._frames.job(segment)
        return [stopped_of(self._source, segment), result]

    def _segment_to(self, last_seq: int, kind: str, reason: str) -> Segment:
        """The open segment as it is if it ends with frame `last_seq`."""
        last = self._frames[last_seq]
        end = {"last_seq": last_seq, "end_position": last.position + FRAME_SAMPLES, "ended_ns": last.captured_ns}
        return replace(self._open, kind=kind, reason=reason, **end)

    # ---- segments of an earlier vad -----------------------------------------------------------------

    def _release_pending(self, is_due: Callable[[Segment], bool]) -> list[Output]:
        due = [segment for segment in self._pending if is_due(segment)]
        self._pending = self._pending[len(due) :]
        return [
            self._frames.job(segment) if self._frames.has_all_of(segment) else self._decisions.fail(segment)
            for segment in due
        ]

    def _kept_from_seq(self, frame: AudioFrame) -> int:
        oldest = self._segmenter.oldest
        return min([segment.first_seq for segment in self._pending[:1]] + [oldest.seq if oldest else frame.seq])
