"""Whether captured sound is fully accounted for: pure checks over the records of capture, vad and journal.

Every decided frame lies in exactly one utterance, silence or gap. Silence has no record, so the checks are: spans do
not overlap, spans begin and end at frame edges, no frame in the ring lies in a gap, and no utterance number is missing.
The records are read in the order sound travels (ring, segment store, journal): what one reader has already dropped,
the next one's later record contains.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ, Entry, Gap

GAP, OPEN = "gap", "open"


@dataclass(frozen=True)
class NumberedSpan:
    """What an utterance or gap number covers, in samples. `kind` is that of vad's segment, or "entry"."""

    number: int
    kind: str
    start: int
    end: int

    @property
    def is_gap(self) -> bool:
        return self.kind == GAP


@dataclass(frozen=True)
class FrameRun:
    """Adjacent frames in the ring: the first one's seq and position (samples), and their number."""

    seq: int
    position: int
    frames: int

    @property
    def end(self) -> int:
        return self.position + self.frames * FRAME_SAMPLES

    def has_edge(self, position: int) -> bool:
        """Whether a frame begins or ends at this position."""
        return self.position <= position <= self.end and (position - self.position) % FRAME_SAMPLES == 0


@dataclass(frozen=True)
class StreamRecords:
    """The records of one stream by capture, vad and journal. `decided_*` and `last_number` are vad's checkpoint;
    -1 without one."""

    source: str
    stream: str
    runs: Sequence[FrameRun] = ()
    damaged: Sequence[int] = ()
    decided_seq: int = -1
    decided_to: int = -1
    last_number: int = -1
    segments: Sequence[NumberedSpan] = ()
    entries: Sequence[NumberedSpan] = ()
    has_expired_entries: bool = False  # journal has deleted old entries

    @property
    def uncommitted(self) -> list[NumberedSpan]:
        """The segments without an entry."""
        committed = {entry.number for entry in self.entries}
        return [segment for segment in self.segments if segment.number not in committed]

    @property
    def spans(self) -> list[NumberedSpan]:
        """All entries and uncommitted segments, by number."""
        return sorted([*self.entries, *self.uncommitted], key=lambda span: span.number)

    @property
    def first_number(self) -> int:
        """The lowest number that must have a span."""
        if not self.has_expired_entries:
            return 1
        return min((span.number for span in self.spans), default=self.last_number + 1)


def span_of(entry: Entry) -> NumberedSpan:
    """The entry's span. Positions are exact: an entry's seconds are samples divided by the rate."""
    kind = GAP if isinstance(entry, Gap) else "entry"
    start, end = (round(seconds * SAMPLE_RATE_HZ) for seconds in (entry.start_s, entry.end_s))
    return NumberedSpan(entry.utterance_id.number, kind, start, end)


def violations(records: StreamRecords) -> list[str]:
    """Every contradiction or omission, one line each; empty when all sound is accounted for."""
    checks = (
        _missing_numbers,
        _duplicate_entries,
        _changed_spans,
        _overlaps,
        _checkpoint,
        _frames,
        _frames_in_gaps,
        _unrecorded_gaps,
    )
    return [f"{records.source}/{records.stream}{text}" for check in checks for text in check(records)]


def sequence_violations(seqs: Iterable[int]) -> list[str]:
    """One line for every hole or repetition in journal_seq."""
    return [f"journal_seq {one} is followed by {two}" for one, two in pairwise(seqs) if two != one + 1]


def summary(records: StreamRecords) -> dict[str, object]:
    """The stream in numbers, for the report. Silence is decided sound outside utterances and gaps."""
    utterances = [span for span in records.spans if not span.is_gap and span.kind != OPEN]
    gaps = [span for span in records.spans if span.is_gap]
    decided_to = max(records.decided_to, 0)
    captured_to = max([decided_to, *(run.end for run in records.runs)])
    recorded = _union((span.start, min(span.end, decided_to)) for span in [*utterances, *gaps])
    return {
        "source": records.source,
        "stream": records.stream,
        "heard_s": captured_to / SAMPLE_RATE_HZ,
        "utterances": len(utterances),
        "utterance_s": sum(span.end - span.start for span in utterances) / SAMPLE_RATE_HZ,
        "gaps": len(gaps),
        "gap_s": sum(span.end - span.start for span in gaps) / SAMPLE_RATE_HZ,
        "silence_s": (decided_to - recorded) / SAMPLE_RATE_HZ,
        "undecided_s": (captured_to - decided_to) / SAMPLE_RATE_HZ,
        "frames": sum(run.frames for run in records.runs),
        "waiting": len(records.uncommitted),
        "retired": records.first_number - 1,
    }


# ---- numbers ------------------------------------------------------------------------------------


def _missing_numbers(records: StreamRecords) -> Iterator[str]:
    numbers = {span.number for span in records.spans}
    uncommitted = [span.number for span in records.uncommitted]
    for number in range(records.first_number, max([records.last_number, *numbers], default=0) + 1):
        # Journal may have committed an entry (so vad has dropped its segment) before those ahead of it are published.
        if number not in numbers and not any(before < number for before in uncommitted):
            yield f"/{number}: no entry in the journal, and no segment waits for one"


def _duplicate_entries(records: StreamRecords) -> Iterator[str]:
    for number, count in Counter(entry.number for entry in records.entries).items():
        if count > 1:
            yield f"/{number}: {count} entries in the journal"


def _changed_spans(records: StreamRecords) -> Iterator[str]:
    """A number whose segment was cut a second time, at other positions."""
    segments = {segment.number: segment for segment in records.segments}
    for entry in records.entries:
        if (segment := segments.get(entry.number)) and not _is_same_span(segment, entry):
            yield f"/{entry.number}: the journal has {_range(entry)}, the segment store {_range(segment)}"


def _is_same_span(segment: NumberedSpan, entry: NumberedSpan) -> bool:
    return segment.start == entry.start and (segment.kind == OPEN or segment.end == entry.end)


# ---- spans --------------------------------------------------------------------------------------


def _overlaps(records: StreamRecords) -> Iterator[str]:
    """Utterances may not overlap, nor gaps; but a short gap lies inside the utterance that bridges it."""
    for is_gap in (False, True):
        spans = [span for span in records.spans if span.is_gap == is_gap]
        for one, two in pairwise(spans):
            if two.start < one.end:
                yield f"/{two.number}: {_range(two)} begins before the end of number {one.number}, {_range(one)}"


def _checkpoint(records: StreamRecords) -> Iterator[str]:
    """Numbers up to the checkpoint's end before its position; later numbers begin after it."""
    if records.decided_to < 0:
        return
    still_open = {segment.number for segment in records.segments if segment.kind == OPEN}
    for span in records.spans:
        if span.is_gap or span.start == span.end or span.number in still_open:
            continue
        is_older = span.number <= records.last_number
        if span.end > records.decided_to if is_older else span.start < records.decided_to:
            checkpoint = f"{records.decided_to} and number {records.last_number}"
            yield f"/{span.number}: {_range(span)} does not fit vad's checkpoint, {checkpoint}"


# ---- frames -------------------------------------------------------------------------------------


def _frames(records: StreamRecords) -> Iterator[str]:
    """No frame in the ring is damaged or overlaps another, and utterances begin and end at frame edges."""
    for seq in records.damaged:
        yield f": frame {seq} is damaged"
    for one, two in pairwise(records.runs):
        if two.position < one.end:
            yield f": frame {two.seq} lies at {two.position}, before the end of the frame before it"
    if not records.runs:
        return
    held_from, held_to = records.runs[0].position, records.runs[-1].end
    for span in records.spans:
        edges = [span.start] if span.is_gap or span.kind == OPEN else [span.start, span.end]
        for edge in edges:
            if held_from <= edge <= held_to and not any(run.has_edge(edge) for run in records.runs):
                yield f"/{span.number}: {_range(span)} cuts through a frame at {edge}"


def _frames_in_gaps(records: StreamRecords) -> Iterator[str]:
    for gap in (span for span in records.spans if span.is_gap):
        for run in records.runs:
            if run.position < gap.end and gap.start < run.end:
                yield f"/{gap.number}: the gap {_range(gap)} holds sound that was captured"


def _unrecorded_gaps(records: StreamRecords) -> Iterator[str]:
    """Between two decided frames that are not adjacent there is a gap entry."""
    gaps = [span for span in records.spans if span.is_gap]
    for one, two in pairwise(records.runs):
        is_decided = two.seq < records.decided_seq and two.seq == one.seq + one.frames
        if is_decided and not any(gap.start <= one.end and two.position <= gap.end for gap in gaps):
            yield f": nothing was captured from {one.end} to {two.position}, and no gap says so"


def _range(span: NumberedSpan) -> str:
    return f"{span.start}-{span.end}"


def _union(spans: Iterable[tuple[int, int]]) -> int:
    """Number of samples that lie in at least one of these spans."""
    total, done_to = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, done_to))
        done_to = max(done_to, end)
    return total
