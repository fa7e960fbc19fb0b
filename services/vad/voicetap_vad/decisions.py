"""What is decided of one stream: its part of the cut list. Kept from `commit` on, before anything of it is sent."""

from dataclasses import replace

from voicetap.messages import Failed, Gap

from .cutlist import FAILED, GAP, Cut, CutList, Mark
from .entries import entry_of


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

    def fail(self, cut: Cut, reason: str = "overrun") -> Failed:
        cut = replace(cut, kind=FAILED, reason=reason)
        self._cuts.put(cut)
        return entry_of(self._source, cut)

    def add_gap(self, seq: int, start_position: int, end_position: int, wall_ns: int, reason: str) -> Gap:
        number = self.new_number()
        gap = Cut(self.mark.stream, number, GAP, seq, seq, seq, start_position, end_position, wall_ns, 0, reason)
        self._cuts.put(gap)
        self.note(gaps=self.mark.gaps + 1, gap_seq=seq)
        return entry_of(self._source, gap)
