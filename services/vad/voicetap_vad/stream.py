"""One stream of a source: its frames in, and out comes what vad says about it. Decides, notes, then tells.

A cut made by a vad before us is never made again: its frames are only collected. An utterance it had announced
is continued from its first frame; otherwise deciding goes on where it was noted, after a warm-up of the model.
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

from .cutlist import OPEN, SHORT, SPEECH, Cut, CutList, Mark
from .decisions import Decisions
from .draft import NEVER, Draft
from .entries import LOST, entry_of, id_of, started_of, stopped_of
from .frames import Frames
from .hearing import Hearing
from .repair import Order
from .segmenter import Ended, Event, Scored, Segmenter, Started
from .silero import Silero
from .speculation import EARLY, INTERIM

WARM_UP_FRAMES = 63  # two seconds, after which the model agrees with one that never stopped
NOTE_SAMPLES = SAMPLE_RATE_HZ  # of silence between two notes of how far it is decided

Said = SpeechStarted | SpeechStopped | Job | Final | Failed | Gap


class Stream:
    """Feed it frames taken from its `order`. What it returns is noted in the cut list already."""

    def __init__(self, head: AudioHead, mark: Mark, cuts: CutList, silero: Silero, settings: VadSettings):
        self.name = head.stream
        self._source = head.source
        self._decisions = Decisions(head.source, mark, cuts)
        self._hearing = Hearing(silero)
        self._segmenter = Segmenter(settings)
        self._endpoint_samples = settings.endpoint_ms * SAMPLE_RATE_HZ // 1000
        self._frames = Frames(head.source)
        self.draft: Draft | None = None  # of the newest utterance
        known = [cut for cut in cuts.cuts() if cut.stream == self.name]
        self._pending = [cut for cut in known if cut.kind == SPEECH]  # decided before us; sound still to come
        self._open = next((cut for cut in known if cut.kind == OPEN), None)
        self._decide_from_seq = self._open.first_seq if self._open else mark.seq
        self._decided_end = self._open.start_position if self._open else mark.position
        self._decided_to_seq = self._decide_from_seq
        if self._open:
            self._segmenter.resume(Started(self._open.first_seq, self._open.onset_seq, bool(self._open.continues)))
            self.draft = Draft(id_of(self._source, self._open), self._open.start_position)
        oldest_seq = min([cut.first_seq for cut in self._pending] + [self._decide_from_seq - WARM_UP_FRAMES])
        self.order = Order(max(head.first_seq, oldest_seq))
        self.order.hear_head(head.first_seq, head.next_seq)

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def has_undecided(self) -> bool:
        """Whether sound was heard that is not noted as decided: the silence of the last moment."""
        return self._decided_to_seq > self._decisions.mark.seq

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks, and every frame there is has been heard."""
        return self._segmenter.is_quiet and not self._open and not self._pending and self.order.complete

    @property
    def gaps(self) -> int:
        return self._decisions.mark.gaps

    @property
    def position_s(self) -> float:
        return self._decided_end / SAMPLE_RATE_HZ

    def needed_seq(self) -> int:
        """The oldest frame that a restart of vad would ask for."""
        return max(0, self._decisions.needed_seq() - WARM_UP_FRAMES)

    def feed(self, frames: list[AudioFrame]) -> list[Said]:
        from_seq = self._decide_from_seq - WARM_UP_FRAMES
        probabilities = self._hearing.probabilities(frame for frame in frames if frame.seq >= from_seq)
        return [said for frame in frames for said in self._take(frame, probabilities)]

    def _take(self, frame: AudioFrame, probabilities: dict[int, float]) -> list[Said]:
        self._frames.add(frame)
        said = self._collect(lambda cut: cut.last_seq <= frame.seq)
        if frame.seq >= self._decide_from_seq:
            said += self._decide(frame, probabilities[frame.seq])
        self._frames.drop_before(self._kept_from_seq(frame))
        self._decisions.commit()
        return said

    def close(self, reason: str) -> list[Said]:
        """The source is lost or at its end, and all it gave us has been fed: ends the open utterance here."""
        cut_off = self.is_open and reason == "source_lost"
        said = self._apply(self._segmenter.close(reason))
        if self._open:  # announced by a vad before us, and none of its sound can be had
            said.append(self._decisions.fail(self._open))
            self._open = None
        if self._decided_to_seq > self._decisions.mark.seq:
            self._decisions.note(seq=self._decided_to_seq, position=self._decided_end)
        if cut_off:
            self._decisions.note(cut_off=True)
        self._decisions.commit()
        return said

    def abandon(self, last_position: int, reason: str) -> list[Said]:
        """The stream is over, and frames that are not here will never come. `last_position`: how long it was."""
        said = self._collect(lambda cut: True)
        said += self.close("source_lost")
        if last_position > self._decided_end:
            said.append(self._decisions.add_gap(self._decisions.mark.seq, self._decided_end, last_position, 0, reason))
        self._decisions.commit()
        return said

    def say_lost(self, numbers: Iterable[int]) -> list[Said]:
        """Nobody knows any more what these numbers were, or how far it was decided; from here on it will be."""
        seq, position = self._decisions.mark.seq - 1, self._decided_end
        lost = [Cut(self.name, number, OPEN, seq, seq, seq, position, position, 0) for number in numbers]
        said = [self._decisions.fail(cut, LOST) for cut in lost]
        said.append(self._decisions.add_gap(seq, position, position, 0, LOST))
        self._decisions.commit()
        return said

    def forget(self, first: int, last: int) -> None:
        """journal has committed these numbers."""
        self._pending = [cut for cut in self._pending if not first <= cut.number <= last]

    # ---- what may be worth hearing before it is decided -------------------------------------------

    def ends_in_s(self) -> float | None:
        """How soon the pause of the moment may be the end, if its early job was not made yet."""
        pause = self._segmenter.pause
        is_news = pause is not None and self._open is not None and self.draft.is_news(pause)
        return self._segmenter.ends_in / SAMPLE_RATE_HZ if is_news else None

    def early(self) -> Job:
        """The job there will be if nobody speaks any more, in this pause. Nothing of it is noted, or owed."""
        pause = self._segmenter.pause
        self.draft.ask_early(pause, self._decided_end)
        return self._frames.job(self._cut_to(pause[1], SPEECH, "silence"), EARLY)

    def overdue(self, period_s: float) -> float:
        """How overdue an interim is, in samples; negative while nobody speaks, or it is too soon."""
        return self.draft.overdue(self._decided_end, period_s) if self._segmenter.is_speaking else NEVER

    def interim(self) -> Job:
        """The newest sound of the open utterance, as far back as it is not known what was said."""
        start = self.draft.ask_interim(self._decided_end)
        first = self._frames.first_at(start, self._open.first_seq)
        cut = self._cut_to(self._decided_to_seq - 1, OPEN, "")
        return self._frames.job(replace(cut, first_seq=first.seq, start_position=first.position), INTERIM)

    def hear(self, hypothesis: Hypothesis) -> Interim | None:
        """What there is to publish of the utterance that is open; it may also tell whether this pause is its end."""
        if hypothesis.utterance_id != self.draft.utterance_id:
            return None
        pause = self._segmenter.pause
        if pause and hypothesis.end_position == self._frames[pause[1]].position + FRAME_SAMPLES:
            self._segmenter.endpoint.hear(hypothesis)
        return self.draft.hear(hypothesis)

    # ---- deciding -----------------------------------------------------------------------------

    def _decide(self, frame: AudioFrame, probability: float) -> list[Said]:
        said = self._hear_gap(frame) if frame.position > self._decided_end else []
        self._decided_end, self._decided_to_seq = frame.position + FRAME_SAMPLES, frame.seq + 1
        said += self._apply(self._segment(Scored(frame.seq, frame.position, probability)))
        oldest = self._segmenter.oldest
        seq, position = (oldest.seq, oldest.position) if oldest else (self._decided_to_seq, self._decided_end)
        if not self._open and position - self._decisions.mark.position >= NOTE_SAMPLES:
            self._decisions.note(seq=seq, position=position)
        return said

    def _segment(self, frame: Scored) -> list[Event]:
        if not self._decisions.mark.cut_off:
            return self._segmenter.feed(frame)
        self._decisions.note(cut_off=False)
        return self._segmenter.go_on([frame])

    def _hear_gap(self, frame: AudioFrame) -> list[Said]:
        said = []
        is_long = frame.position - self._decided_end >= self._endpoint_samples
        is_lost = is_long and frame.seq > self._decided_to_seq  # not the device's doing, even if a gap of its is in it
        if is_long:
            said += self.close("source_lost")  # a shorter one is bridged, with silence
            self._decisions.note(cut_off=False)
        if is_lost or frame.seq > self._decisions.mark.gap_seq:
            reason = "overrun" if is_lost else frame.gap_reason or "overrun"
            gap = self._decisions.add_gap(frame.seq, self._decided_end, frame.position, frame.wall_ns, reason)
            said.append(gap)
        if is_lost:
            self._decisions.note(seq=frame.seq, position=frame.position)
        return said

    def _apply(self, events: list[Event]) -> list[Said]:
        said = []
        for event in events:
            said += [self._start(event)] if isinstance(event, Started) else self._end(event)
        return said

    def _start(self, event: Started) -> SpeechStarted:
        first, onset = self._frames[event.first_seq], self._frames[event.onset_seq]
        self._open = self._decisions.open(event, first)
        self.draft = Draft(id_of(self._source, self._open), first.position, onset, self.draft)
        return started_of(self._source, self._open, onset)

    def _end(self, event: Ended) -> list[Said]:
        cut = self._cut_to(event.last_seq, SHORT if event.too_short else SPEECH, event.reason)
        self._open = None
        self._decisions.put(cut)
        failpoint("vad.cut.decided")
        self._decisions.note(seq=cut.last_seq + 1, position=cut.end_position)
        entry = entry_of(self._source, cut) if event.too_short else self._frames.job(cut)
        return [stopped_of(self._source, cut), entry]

    def _cut_to(self, last_seq: int, kind: str, reason: str) -> Cut:
        last = self._frames[last_seq]
        end = {"last_seq": last_seq, "end_position": last.position + FRAME_SAMPLES, "ended_ns": last.captured_ns}
        return replace(self._open, kind=kind, reason=reason, **end)

    # ---- the cut list ---------------------------------------------------------------------------

    def _collect(self, is_due: Callable[[Cut], bool]) -> list[Said]:
        due = [cut for cut in self._pending if is_due(cut)]
        self._pending = self._pending[len(due) :]
        return [self._frames.job(cut) if self._frames.has_all_of(cut) else self._decisions.fail(cut) for cut in due]

    def _kept_from_seq(self, frame: AudioFrame) -> int:
        oldest = self._segmenter.oldest
        return min([cut.first_seq for cut in self._pending[:1]] + [oldest.seq if oldest else frame.seq])
