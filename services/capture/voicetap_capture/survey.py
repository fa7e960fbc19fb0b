"""What the rings hold, for `voicetap audit`: read beside the captures that write them, which notice nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from voicetap.messages import FRAME_SAMPLES

from .ring import Ring, beside

_PREFIX, _SUFFIX = "audio-", ".ring"


@dataclass
class Survey:
    """Frames `first_seq` up to, not including, `next_seq`, as `runs` of (seq, position, frames) without a jump."""

    source: str
    stream: str
    first_seq: int
    next_seq: int
    runs: list[list[int]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)


def survey_all(runtime_dir: Path) -> list[Survey]:
    """One of every ring there is."""
    return [_survey(path) for path in sorted(runtime_dir.glob(f"{_PREFIX}*{_SUFFIX}"))]


def _survey(path: Path) -> Survey:
    source = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    with beside(path, source) as ring:
        found = Survey(source, ring.stream, ring.first_seq, ring.next_seq)
        for seq in range(found.first_seq, found.next_seq):
            _note(found, ring, seq)
        found.first_seq = ring.first_seq  # what was overwritten meanwhile is neither held nor damaged
    found.damaged = [seq for seq in found.damaged if seq >= found.first_seq]
    return found


def _note(found: Survey, ring: Ring, seq: int) -> None:
    if not (frame := ring.read(seq)):
        found.damaged.append(seq)
    elif found.runs and _follows(found.runs[-1], seq, frame.position):
        found.runs[-1][2] += 1
    else:
        found.runs.append([seq, frame.position, 1])


def _follows(run: list[int], seq: int, position: int) -> bool:
    first_seq, first_position, frames = run
    return seq == first_seq + frames and position == first_position + frames * FRAME_SAMPLES
