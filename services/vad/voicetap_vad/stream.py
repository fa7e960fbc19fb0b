"""One stream of a source: its frames in, and out comes what vad says about it. Decides, notes, then tells.

A cut made by a vad before us is never made again: its frames are only collected. An utterance it had announced
is continued from its first frame; otherwise deciding goes on where it was noted, after a warm-up of the model.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from voicetap.crashpoint import crashpoint
from voicetap.messages import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    AudioHead,
    Failed,
    Final,
    Gap,
    Job,
    SpeechStarted,
    SpeechStopped,
)
from voicetap.settings import VadSettings

from .cutlist import FAILED, GAP, OPEN, SHORT, SPEECH, Cut, CutList, Mark
from .entries import LOST, entry_of, job_of, started_of, stopped_of
from .repair import Order
from .segmenter import Ended, Event, Scored, Segmenter, Started
from .silero import Silero
from .speculation import EARLY, FINAL

WARM_UP_FRAMES = 63  # two seconds, after which the model agrees with one that never stopped
NOTE_SAMPLES = SAMPLE_RATE_HZ  # of silence between two notes of how far it is decided

Said = SpeechStarted | SpeechStopped | Job | Final | Failed | Gap


class Stream:
    """Feed it frames taken from its `order`. What it returns is noted in the cut list already."""

    def __init__(self, head: AudioHead, mark: Mark, cuts: CutList, silero: Silero, settings: VadSettings):
        self.name = head.stream
        self._source = head.source
        self._cuts = cuts
        self._silero = silero
        self._segmenter = Segmenter(settings)
        self._endpoint_samples = settings.endpoint_ms * SAMPLE_RATE_HZ // 1000
        self._mark = mark
        self._frames: dict[int, AudioFrame] = {}
        self._heard_end = -1  # position after the last frame the model heard
        self._early_to_seq = -1  # of the newest early job
        known = [cut for cut in cuts.cuts() if cut.stream == self.name]
        self._pending = [cut for cut in known if cut.kind == SPEECH]  # decided before us; sound still to come
        self._open = next((cut for cut in known if cut.kind == OPEN), None)
        self._decide_from_seq = self._open.first_seq if self._open else mark.seq
        self._decided_end = self._open.start_position if self._open else mark.position
        self._decided_to_seq = self._decide_from_seq
        if self._open:
            self._segmenter.resume(Started(self._open.first_seq, self._open.onset_seq, bool(self._open.continues)))
        oldest_seq = min([cut.first_seq for cut in self._pending] + [self._decide_from_seq - WARM_UP_FRAMES])
        self.order = Order(max(head.first_seq, oldest_seq))
        self.order.hear_head(head.first_seq, head.next_seq)

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def has_undecided(self) -> bool:
        """Whether sound was heard that is not noted as decided: the silence of the last moment."""
        return self._decided_to_seq > self._mark.seq

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks, and every frame there is has been heard."""
        return self._segmenter.is_quiet and not self._open and not self._pending and self.order.complete

    @property
    def gaps(self) -> int:
        return self._mark.gaps

    @property
    def position_s(self) -> float:
        return self._decided_end / SAMPLE_RATE_HZ

    def needed_seq(self) -> int:
        """The oldest frame that a restart of vad would ask for."""
        cut_seq = self._cuts.oldest_seq(self.name)
        return max(0, (self._mark.seq if cut_seq is None else min(cut_seq, self._mark.seq)) - WARM_UP_FRAMES)

    def feed(self, frame: AudioFrame) -> list[Said]:
        self._frames[frame.seq] = frame
        said = self._collect(lambda cut: cut.last_seq <= frame.seq)
        if frame.seq >= self._decide_from_seq:
            said += self._decide(frame)
        elif frame.seq >= self._decide_from_seq - WARM_UP_FRAMES:
            self._probability(frame)
        self._drop_frames_before(self._kept_from_seq(frame))
        self._cuts.commit()
        return said

    def close(self, reason: str) -> list[Said]:
        """The source is lost or at its end, and all it gave us has been fed: ends the open utterance here."""
        cut_off = self.is_open and reason == "source_lost"
        said = self._apply(self._segmenter.close(reason))
        if self._open:  # announced by a vad before us, and none of its sound can be had
            said.append(self._fail(self._open))
            self._open = None
        if self._decided_to_seq > self._mark.seq:
            self._note(seq=self._decided_to_seq, position=self._decided_end)
        if cut_off:
            self._note(cut_off=True)
        self._cuts.commit()
        return said

    def abandon(self, last_position: int, reason: str) -> list[Said]:
        """The stream is over, and frames that are not here will never come. `last_position`: how long it was."""
        said = self._collect(lambda cut: True)
        said += self.close("source_lost")
        if last_position > self._decided_end:
            said.append(self._add_gap(self._mark.seq, last_position, 0, reason))
        self._cuts.commit()
        return said

    def say_lost(self, numbers: Iterable[int]) -> list[Said]:
        """Nobody knows any more what these numbers were, or how far it was decided; from here on it will be."""
        seq, position = self._mark.seq - 1, self._decided_end
        lost = [Cut(self.name, number, OPEN, seq, seq, seq, position, position, 0) for number in numbers]
        said = [self._fail(cut, LOST) for cut in lost]
        said.append(self._add_gap(seq, position, 0, LOST))
        self._cuts.commit()
        return said

    def forget(self, first: int, last: int) -> None:
        """journal has committed these numbers."""
        self._pending = [cut for cut in self._pending if not first <= cut.number <= last]

    # ---- what may be worth hearing before it is decided -------------------------------------------

    def paused_ns(self) -> int | None:
        """When the pause began that may be the end, if its early job was not made yet."""
        pause = self._segmenter.pause
        is_news = pause is not None and self._open is not None and pause[1] != self._early_to_seq
        return self._frames[pause[1]].captured_ns if is_news else None

    def early(self) -> Job:
        """The job there will be if nobody speaks any more, in this pause. Nothing of it is noted, or owed."""
        _, self._early_to_seq = self._segmenter.pause
        return self._job(self._cut_to(self._early_to_seq, SPEECH, "silence"), EARLY)

    # ---- deciding -----------------------------------------------------------------------------

    def _decide(self, frame: AudioFrame) -> list[Said]:
        said = self._hear_gap(frame) if frame.position > self._decided_end else []
        self._decided_end, self._decided_to_seq = frame.position + FRAME_SAMPLES, frame.seq + 1
        said += self._apply(self._segment(Scored(frame.seq, frame.position, self._probability(frame))))
        oldest = self._segmenter.oldest
        seq, position = (oldest.seq, oldest.position) if oldest else (self._decided_to_seq, self._decided_end)
        if not self._open and position - self._mark.position >= NOTE_SAMPLES:
            self._note(seq=seq, position=position)
        return said

    def _segment(self, frame: Scored) -> list[Event]:
        if not self._mark.cut_off:
            return self._segmenter.feed(frame)
        self._note(cut_off=False)
        return self._segmenter.go_on([frame])

    def _hear_gap(self, frame: AudioFrame) -> list[Said]:
        said = []
        if frame.position - self._decided_end >= self._endpoint_samples:
            said += self.close("source_lost")  # a shorter one is bridged, with silence
            self._note(cut_off=False)
        if frame.seq > self._mark.gap_seq:
            said.append(self._add_gap(frame.seq, frame.position, frame.wall_ns, frame.gap_reason or "overrun"))
        return said

    def _probability(self, frame: AudioFrame) -> float:
        if frame.position != self._heard_end:
            self._silero.reset()
        self._heard_end = frame.position + FRAME_SAMPLES
        return self._silero.probability(frame.pcm)

    def _apply(self, events: list[Event]) -> list[Said]:
        said = []
        for event in events:
            said += [self._start(event)] if isinstance(event, Started) else self._end(event)
        return said

    def _start(self, event: Started) -> SpeechStarted:
        first, onset = self._frames[event.first_seq], self._frames[event.onset_seq]
        self._open = Cut(
            stream=self.name,
            number=self._new_number(),
            kind=OPEN,
            first_seq=event.first_seq,
            last_seq=event.first_seq,
            onset_seq=event.onset_seq,
            start_position=first.position,
            end_position=first.position,
            wall_ns=first.wall_ns,
            continues=event.continues,
        )
        self._cuts.put(self._open)
        return started_of(self._source, self._open, onset)

    def _end(self, event: Ended) -> list[Said]:
        cut = self._cut_to(event.last_seq, SHORT if event.too_short else SPEECH, event.reason)
        self._open = None
        self._cuts.put(cut)
        crashpoint("vad.cut.decided")
        self._note(seq=cut.last_seq + 1, position=cut.end_position)
        entry = entry_of(self._source, cut) if event.too_short else self._job(cut)
        return [stopped_of(self._source, cut), entry]

    def _cut_to(self, last_seq: int, kind: str, reason: str) -> Cut:
        last = self._frames[last_seq]
        end = {"last_seq": last_seq, "end_position": last.position + FRAME_SAMPLES, "ended_ns": last.captured_ns}
        return replace(self._open, kind=kind, reason=reason, **end)

    # ---- the cut list ---------------------------------------------------------------------------

    def _collect(self, is_due: Callable[[Cut], bool]) -> list[Said]:
        due = [cut for cut in self._pending if is_due(cut)]
        self._pending = self._pending[len(due) :]
        return [self._job(cut) if self._has_all_of(cut) else self._fail(cut) for cut in due]

    def _has_all_of(self, cut: Cut) -> bool:
        return all(seq in self._frames for seq in range(cut.first_seq, cut.last_seq + 1))

    def _job(self, cut: Cut, purpose: str = FINAL) -> Job:
        span = range(cut.first_seq, cut.last_seq + 1)
        return job_of(self._source, cut, [self._frames[seq] for seq in span if seq in self._frames], purpose)

    def _fail(self, cut: Cut, reason: str = "overrun") -> Failed:
        cut = replace(cut, kind=FAILED, reason=reason)
        self._cuts.put(cut)
        return entry_of(self._source, cut)

    def _add_gap(self, seq: int, end_position: int, wall_ns: int, reason: str) -> Gap:
        number = self._new_number()
        gap = Cut(self.name, number, GAP, seq, seq, seq, self._decided_end, end_position, wall_ns, 0, reason)
        self._cuts.put(gap)
        self._note(gaps=self._mark.gaps + 1, gap_seq=seq)
        return entry_of(self._source, gap)

    def _new_number(self) -> int:
        self._note(last_number=self._mark.last_number + 1)
        return self._mark.last_number

    def _note(self, **changes: int) -> None:
        self._mark = replace(self._mark, **changes)
        self._cuts.put_mark(self._mark)

    def _kept_from_seq(self, frame: AudioFrame) -> int:
        oldest = self._segmenter.oldest
        return min([cut.first_seq for cut in self._pending[:1]] + [oldest.seq if oldest else frame.seq])

    def _drop_frames_before(self, seq: int) -> None:
        while (oldest := next(iter(self._frames))) < seq:
            del self._frames[oldest]
