"""What a reader that missed frames is sent: a bounded piece of the ring, oldest first."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, AudioFrame, ReplayRequest

MAX_FRAMES = 256  # per request: the reader asks again, which keeps it in control of the flow


def span(request: ReplayRequest, first_seq: int, next_seq: int) -> range:
    """The frames of the request that are held, at most MAX_FRAMES."""
    start = max(request.from_seq, first_seq)
    return range(start, min(request.to_seq, next_seq, start + MAX_FRAMES))


def frames(seqs: range, read: Callable[[int], AudioFrame | None]) -> Iterator[AudioFrame]:
    """The frames, with silence for a damaged one: a reader that never got it would ask for ever."""
    previous = read(seqs.start - 1) if seqs.start else None
    for seq in seqs:
        frame = read(seq) or _silence(seq, previous)
        if frame:
            yield frame
        previous = frame


def _silence(seq: int, previous: AudioFrame | None) -> AudioFrame | None:
    if previous is None:
        return None
    position = previous.position + FRAME_SAMPLES
    return replace(previous, seq=seq, position=position, pcm=bytes(FRAME_BYTES), gap_reason="damaged")
