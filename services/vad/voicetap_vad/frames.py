"""The sound that is kept of one stream, and the jobs that are made of it."""

from voicetap.messages import FRAME_SAMPLES, AudioFrame, Job

from .cutlist import Cut
from .entries import job_of
from .speculation import FINAL


class Frames:
    """By their `seq`, in order."""

    def __init__(self, source: str):
        self._source = source
        self._frames: dict[int, AudioFrame] = {}

    def __getitem__(self, seq: int) -> AudioFrame:
        return self._frames[seq]

    def add(self, frame: AudioFrame) -> None:
        self._frames[frame.seq] = frame

    def has_all_of(self, cut: Cut) -> bool:
        return all(seq in self._frames for seq in range(cut.first_seq, cut.last_seq + 1))

    def job(self, cut: Cut, purpose: str = FINAL) -> Job:
        """Of what is here of the cut."""
        span = range(cut.first_seq, cut.last_seq + 1)
        return job_of(self._source, cut, [self._frames[seq] for seq in span if seq in self._frames], purpose)

    def first_at(self, position: int, from_seq: int) -> AudioFrame:
        """The frame at this position, or the next that is here."""
        later = (frame for seq, frame in self._frames.items() if seq >= from_seq)
        return next(frame for frame in later if frame.position + FRAME_SAMPLES > position)

    def drop_before(self, seq: int) -> None:
        while (oldest := next(iter(self._frames))) < seq:
            del self._frames[oldest]
