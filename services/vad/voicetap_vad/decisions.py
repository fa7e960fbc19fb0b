"""What is decided of one stream: its part of the cut list. Kept from `commit` on, before anything of it is sent."""

from dataclasses import replace

from voicetap.messages import AudioFrame, Failed, Gap

from .cutlist import FAILED, GAP, OPEN, Cut, CutList, Mark
from .entries import entry_of
from .segmenter import Started


class Decisions:
    """`mark` says how far they go."""

    def __init__(self, source: str, mark: Mark, cuts: CutList):
        self._source = source
        self.mark = mark
        self._cuts = cuts

    def commit(self) -> None:
        self._cuts.commit()

    def needed_seq(self) -> int:
        """The oldest frame of which a restart would need to know."""
        cut_seq = self._cuts.oldest_seq(self.mark.stream)
        return self.mark.seq if cut_seq is None else min(cut_seq, self.mark.seq)

    def put(self, cut: Cut) -> None:
        self._cuts.put(cut)

    def note(self, **changes: int) -> None:
        self.mark = replace(self.mark, **changes)
        self._cuts.put_mark(self.mark)

    def new_number(self) -> int:
        self.note(last_number=self.mark.last_number + 1)
        return self.mark.last_number

    def open(self, started: Started, first: AudioFrame) -> Cut:
        """An utterance, whose end is not known yet."""
        cut = Cut(
            stream=self.mark.stream,
            number=self.new_number(),
            kind=OPEN,
            first_seq=started.first_seq,
            last_seq=started.first_seq,
            onset_seq=started.onset_seq,
            start_position=first.position,
            end_position=first.position,
            wall_ns=first.wall_ns,
            continues=started.continues,
        )
        self.put(cut)
        return cut

    def fail(self, cut: Cut, reason: str = "overrun") -> Failed:
        cut = replace(cut, kind=FAILED, reason=reason)
        self._cuts.put(cut)
        return entry_of(self._source, cut)

    def add_gap(self, seq: int, start_position: int, end_position: int, wall_ns: int, reason: str) -> Gap:
        number = self.new_number()
        gap = Cut(self.mark.stream, number, GAP, seq, seq, seq, start_position, end_position, wall_ns, 0, reason)
        self._cuts.put(gap)
        self.note(gaps=self.mark.gaps + 1, gap_seq=max(seq, self.mark.gap_seq))
        return entry_of(self._source, gap)
