"""Whether all that was heard is accounted for: pure, from what the ring, the cut list and the journal say.

Every decided frame lies in exactly one utterance, silence or gap. Silence is what nobody claims, so what is checked
is that claims neither overlap nor cut through frames, that no held frame lies in a gap, and that no number is missing.
Snapshots are taken in the order sound travels: what one of them holds, the next may have moved on, never the reverse.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, Entry, Gap

GAP, OPEN = "gap", "open"


@dataclass(frozen=True)
class Claim:
    """What a number of a stream says about `start` to `end`, in samples. `kind` is as in the cut list, or an entry."""

    number: int
    kind: str
    start: int
    end: int

    @property
    def is_gap(self) -> bool:
        return self.kind == GAP


@dataclass(frozen=True)
class Run:
    """Frames the ring holds, without a jump."""

    seq: int
    position: int
    frames: int

    @property
    def end(self) -> int:
        return self.position + self.frames * FRAME_SAMPLES

    def has_edge(self, position: int) -> bool:
        """Whether a frame begins or ends there."""
        return self.position <= position <= self.end and (position - self.position) % FRAME_SAMPLES == 0


@dataclass(frozen=True)
class Books:
    """One stream in the words of its three keepers. `decided_*` and `last_number` are vad's mark, -1 without one."""

    source: str
    stream: str
    runs: Sequence[Run] = ()
    damaged: Sequence[int] = ()
    decided_seq: int = -1
    decided_to: int = -1
    last_number: int = -1
    cuts: Sequence[Claim] = ()
    entries: Sequence[Claim] = ()
    is_retired: bool = False  # journal has deleted old entries

    @property
    def waiting(self) -> list[Claim]:
        """What journal has not committed yet."""
        committed = {entry.number for entry in self.entries}
        return [cut for cut in self.cuts if cut.number not in committed]

    @property
    def claims(self) -> list[Claim]:
        """Everything numbered, in order."""
        return sorted([*self.entries, *self.waiting], key=lambda claim: claim.number)

    @property
    def first_number(self) -> int:
        """The first that can be looked for."""
        if not self.is_retired:
            return 1
        return min((claim.number for claim in self.claims), default=self.last_number + 1)


def claim_of(entry: Entry) -> Claim:
    """Positions are exact: an entry's seconds are samples divided by the rate."""
    kind = GAP if isinstance(entry, Gap) else "entry"
    start, end = (round(seconds * SAMPLE_RATE_HZ) for seconds in (entry.start_s, entry.end_s))
    return Claim(entry.utterance_id.number, kind, start, end)


def violations(books: Books) -> list[str]:
    """Everything that does not add up; empty when all is accounted for."""
    checks = (_numbers, _twice, _moved, _overlaps, _decided, _frames, _claimed_gaps, _jumps)
    return [f"{books.source}/{books.stream}{text}" for check in checks for text in check(books)]


def sequence_violations(seqs: Iterable[int]) -> list[str]:
    """journal_seq has no hole and no repetition."""
    return [f"journal_seq {one} is followed by {two}" for one, two in pairwise(seqs) if two != one + 1]


def summary(books: Books) -> dict[str, object]:
    """How much of what, in seconds; silence is the rest of what is decided."""
    utterances = [claim for claim in books.claims if not claim.is_gap and claim.kind != OPEN]
    gaps = [claim for claim in books.claims if claim.is_gap]
    decided_to = max(books.decided_to, 0)
    heard_to = max([decided_to, *(run.end for run in books.runs)])
    claimed = _union((claim.start, min(claim.end, decided_to)) for claim in [*utterances, *gaps])
    return {
        "source": books.source,
        "stream": books.stream,
        "heard_s": heard_to / SAMPLE_RATE_HZ,
        "utterances": len(utterances),
        "utterance_s": sum(claim.end - claim.start for claim in utterances) / SAMPLE_RATE_HZ,
        "gaps": len(gaps),
        "gap_s": sum(claim.end - claim.start for claim in gaps) / SAMPLE_RATE_HZ,
        "silence_s": (decided_to - claimed) / SAMPLE_RATE_HZ,
        "undecided_s": (heard_to - decided_to) / SAMPLE_RATE_HZ,
        "frames": sum(run.frames for run in books.runs),
        "waiting": len(books.waiting),
        "retired": books.first_number - 1,
    }


# ---- numbers ------------------------------------------------------------------------------------


def _numbers(books: Books) -> Iterator[str]:
    known = {claim.number for claim in books.claims}
    waiting = [claim.number for claim in books.waiting]
    for number in range(books.first_number, max([books.last_number, *known], default=0) + 1):
        # one that came early is committed and forgotten, but published after those before it
        if number not in known and not any(before < number for before in waiting):
            yield f"/{number}: no entry in the journal, and nobody is working on it"


def _twice(books: Books) -> Iterator[str]:
    for number, count in Counter(entry.number for entry in books.entries).items():
        if count > 1:
            yield f"/{number}: {count} entries in the journal"


def _moved(books: Books) -> Iterator[str]:
    """Cut again, and differently."""
    cuts = {cut.number: cut for cut in books.cuts}
    for entry in books.entries:
        if (cut := cuts.get(entry.number)) and not _same_span(cut, entry):
            yield f"/{entry.number}: the journal has {_span(entry)}, the cut list {_span(cut)}"


def _same_span(cut: Claim, entry: Claim) -> bool:
    return cut.start == entry.start and (cut.kind == OPEN or cut.end == entry.end)


# ---- spans --------------------------------------------------------------------------------------


def _overlaps(books: Books) -> Iterator[str]:
    """Among utterances, and among gaps: a short gap lies inside the utterance that bridges it."""
    for is_gap in (False, True):
        claims = [claim for claim in books.claims if claim.is_gap == is_gap]
        for one, two in pairwise(claims):
            if two.start < one.end:
                yield f"/{two.number}: {_span(two)} begins before the end of number {one.number}, {_span(one)}"


def _decided(books: Books) -> Iterator[str]:
    """vad's mark: what was cut ends before it, what is cut later begins after it."""
    if books.decided_to < 0:
        return
    still_open = {cut.number for cut in books.cuts if cut.kind == OPEN}
    for claim in books.claims:
        if claim.is_gap or claim.start == claim.end or claim.number in still_open:
            continue
        is_older = claim.number <= books.last_number
        if claim.end > books.decided_to if is_older else claim.start < books.decided_to:
            mark = f"{books.decided_to} and number {books.last_number}"
            yield f"/{claim.number}: {_span(claim)} does not fit vad, which has decided to {mark}"


# ---- frames -------------------------------------------------------------------------------------


def _frames(books: Books) -> Iterator[str]:
    """The ring is whole, and utterances begin and end with a frame."""
    for seq in books.damaged:
        yield f": frame {seq} is damaged"
    for one, two in pairwise(books.runs):
        if two.position < one.end:
            yield f": frame {two.seq} lies at {two.position}, before the end of the frame before it"
    if not books.runs:
        return
    held_from, held_to = books.runs[0].position, books.runs[-1].end
    for claim in books.claims:
        edges = [claim.start] if claim.is_gap or claim.kind == OPEN else [claim.start, claim.end]
        for edge in edges:
            if held_from <= edge <= held_to and not any(run.has_edge(edge) for run in books.runs):
                yield f"/{claim.number}: {_span(claim)} cuts through a frame at {edge}"


def _claimed_gaps(books: Books) -> Iterator[str]:
    for gap in (claim for claim in books.claims if claim.is_gap):
        for run in books.runs:
            if run.position < gap.end and gap.start < run.end:
                yield f"/{gap.number}: the gap {_span(gap)} holds sound that was captured"


def _jumps(books: Books) -> Iterator[str]:
    """Loss is never silent: where frames are not adjacent there is a gap."""
    gaps = [claim for claim in books.claims if claim.is_gap]
    for one, two in pairwise(books.runs):
        is_decided = two.seq < books.decided_seq and two.seq == one.seq + one.frames
        if is_decided and not any(gap.start <= one.end and two.position <= gap.end for gap in gaps):
            yield f": nothing was captured from {one.end} to {two.position}, and no gap says so"


def _span(claim: Claim) -> str:
    return f"{claim.start}-{claim.end}"


def _union(spans: Iterable[tuple[int, int]]) -> int:
    """Samples in at least one of these."""
    total, done_to = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, done_to))
        done_to = max(done_to, end)
    return total
