"""The recent frames of one stream, the jobs built from them, and their speech probabilities."""

from collections.abc import Iterable

from voicetap.messages import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ, AudioFrame, Job
from voicetap.vocabulary import Purpose

from .level import LevelFollower, LevelMeter, peaks_of, samples_of
from .segment_store import Segment, id_of
from .silero import Silero

SPEECH_PROBABILITY = 0.5  # of a frame that counts as speech in Job.speech, whatever the threshold


class FrameBuffer:
    """Frames by `seq`, added in order."""

    def __init__(self, source: str):
        self._source = source
        self._frames: dict[int, AudioFrame] = {}
        self._probabilities: dict[int, float] = {}

    def __getitem__(self, seq: int) -> AudioFrame:
        return self._frames[seq]

    def add(self, frame: AudioFrame, probability: float | None = None) -> None:
        """`probability` is None for a frame of a segment that an earlier vad decided."""
        self._frames[frame.seq] = frame
        if probability is not None:
            self._probabilities[frame.seq] = probability

    def has_all_of(self, segment: Segment) -> bool:
        return all(seq in self._frames for seq in range(segment.first_seq, segment.last_seq + 1))

    def job(self, segment: Segment, purpose: str = Purpose.FINAL) -> Job:
        """The job of those frames of the segment that are present. Sound the device lost becomes silence."""
        pcm = bytearray()
        gap_samples = 0
        position = segment.start_position
        for frame in self._frames_of(segment):
            missing = max(0, frame.position - position)
            pcm += bytes(missing * SAMPLE_BYTES) + frame.pcm
            gap_samples += missing
            position = frame.position + FRAME_SAMPLES
        return Job(
            utterance_id=id_of(self._source, segment),
            attempt=segment.attempt,
            start_position=segment.start_position,
            end_position=segment.end_position,
            ended_ns=segment.ended_ns,
            wall_ns=segment.wall_ns,
            cut_reason=segment.reason,
            pcm=bytes(pcm),
            gap_s=gap_samples / SAMPLE_RATE_HZ,
            purpose=purpose,
            speech=bytes.fromhex(segment.speech) or self.speech_of(segment),
        )

    def speech_of(self, segment: Segment) -> bytes:
        """Job.speech: a bit per frame of the job's sound. Empty if the probability of one of them is not known."""
        if any(seq not in self._probabilities for seq in range(segment.first_seq, segment.last_seq + 1)):
            return b""
        bits = 0
        for frame in self._frames_of(segment):
            if self._probabilities[frame.seq] >= SPEECH_PROBABILITY:
                middle = frame.position - segment.start_position + FRAME_SAMPLES // 2  # gaps are not whole frames
                bits |= 1 << middle // FRAME_SAMPLES
        count = -(-(segment.end_position - segment.start_position) // FRAME_SAMPLES)
        return bits.to_bytes(-(-count // 8), "little")

    def first_at(self, position: int, from_seq: int) -> AudioFrame:
        """The frame at this position, or else the next one that is present."""
        later = (frame for seq, frame in self._frames.items() if seq >= from_seq)
        return next(frame for frame in later if frame.position + FRAME_SAMPLES > position)

    def drop_before(self, seq: int) -> None:
        while (oldest := next(iter(self._frames))) < seq:
            del self._frames[oldest]
            self._probabilities.pop(oldest, None)

    def _frames_of(self, segment: Segment) -> list[AudioFrame]:
        span = range(segment.first_seq, segment.last_seq + 1)
        return [self._frames[seq] for seq in span if seq in self._frames]


class FrameScorer:
    """Batched Silero inference at a level that suits it. A hole in the stream resets the model, but not the level."""

    def __init__(self, silero: Silero):
        self._silero = silero
        self._follower = LevelFollower()
        self.meter = LevelMeter()
        self._end_position = -1  # of the last scored frame

    def warm_up(self, frames: Iterable[AudioFrame]) -> None:
        """Follows the level of frames that precede those to be scored."""
        if pcm := b"".join(frame.pcm for frame in frames):
            self._follower.gains(peaks_of(samples_of(pcm)))

    def probabilities(self, frames: Iterable[AudioFrame]) -> dict[int, float]:
        """Speech probability by `seq`."""
        scores: dict[int, float] = {}
        for run in _contiguous_runs(frames):
            if run[0].position != self._end_position:
                self._silero.reset()
            self._end_position = run[-1].position + FRAME_SAMPLES
            pcm = b"".join(frame.pcm for frame in run)
            samples = samples_of(pcm)
            peaks = peaks_of(samples)
            self.meter.update(samples, peaks)
            probabilities = self._silero.probabilities(pcm, self._follower.gains(peaks))
            scores |= zip((frame.seq for frame in run), probabilities, strict=True)
        return scores


def _contiguous_runs(frames: Iterable[AudioFrame]) -> list[list[AudioFrame]]:
    runs: list[list[AudioFrame]] = []
    for frame in frames:
        if not runs or runs[-1][-1].position + FRAME_SAMPLES != frame.position:
            runs.append([])
        runs[-1].append(frame)
    return runs
