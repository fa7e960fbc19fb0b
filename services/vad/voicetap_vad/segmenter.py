"""Cuts a stream into utterances: speech probabilities in, starts and ends out. Pure.

Every timer counts samples of the stream, so a slow or stalled process cuts exactly as a fast one. Spans are
whole frames, and no frame is in two of them.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap.settings import VadSettings
from voicetap.vocabulary import CutReason

from .endpointing import Endpointer

BREATH_MS = 96  # the pause that ends an utterance beyond the soft limit
SHRINK_S = 2.0  # beyond the soft limit, over which the required pause shrinks to a breath
SEARCH_S = 7.0  # how far before the hard limit the search for the least speech-like point begins
GUARD_S = 0.5  # excluded from that search: the newest sound, whose continuation is not known yet
SMOOTH_FRAMES = 2  # on either side
MIN_PAUSE_MS = 96  # shorter ones lie within words
LEANING = (
    0.15  # a probability from which a frame before the onset belongs to it: the model takes time to adapt to a voice
)
LEANING_HOLE_FRAMES = 3  # the most frames in a row between two such frames


class ScoredFrame(NamedTuple):
    """One frame with its speech probability."""

    seq: int
    position: int
    probability: float

    @property
    def end(self) -> int:
        return self.position + FRAME_SAMPLES


@dataclass(frozen=True)
class UtteranceStarted:
    """An utterance began with frame `first_seq`, pre-roll included; its speech with `onset_seq`.

    `continues`: it is the rest of an utterance cut in the middle of speech, so even a short one is speech.
    """

    first_seq: int
    onset_seq: int
    continues: bool


@dataclass(frozen=True)
class UtteranceEnded:
    """The utterance is `first_seq` to `last_seq`, both included. `reason` is a CutReason."""

    first_seq: int
    last_seq: int
    reason: str
    too_short: bool


SegmentEvent = UtteranceStarted | UtteranceEnded


@dataclass
class _OpenUtterance:
    first_seq: int
    onset_seq: int
    min_speech_frames: int
    frames: list[ScoredFrame] = field(default_factory=list)
    is_speaking: bool = False
    speech_frames: int = 0
    speech_end: int = 0

    @property
    def silence(self) -> int:
        """Samples since the last speech."""
        return self.frames[-1].end - self.speech_end if self.frames else 0

    def kept_frames(self, padding: int, limit: int) -> int:
        """The number of frames in the segment, of at most `limit` samples, if the current pause ends the utterance."""
        end = min(self.speech_end + padding, self.frames[0].position + limit)
        return bisect_right(self.frames, end, key=lambda frame: frame.end)

    def add(self, frame: ScoredFrame, threshold: float) -> None:
        self.frames.append(frame)
        self.is_speaking = frame.probability >= threshold
        self.speech_frames += self.is_speaking
        if self.is_speaking or frame.seq <= self.onset_seq:  # no endpoint before the onset
            self.speech_end = frame.end


class Segmenter:
    """One stream. Call `on_frame` for every frame in order, and `close` where the stream breaks off."""

    def __init__(self, settings: VadSettings):
        self._threshold, self._release = settings.threshold, settings.release_threshold
        self._onset_frames = max(1, _frames(settings.onset_ms))
        self._pre_roll_frames = _frames(settings.pre_roll_ms)
        self._lookback_frames = _frames(settings.onset_lookback_ms)
        self._min_speech_frames = -(-_samples(settings.min_speech_ms) // FRAME_SAMPLES)
        self.endpointer = Endpointer(settings)
        self._breath = min(_samples(BREATH_MS), self.endpointer.length)
        self._padding = _samples(settings.speech_pad_ms)
        self._min_pause = max(_samples(MIN_PAUSE_MS), self._padding - FRAME_SAMPLES + 1)  # the padding is complete then
        self._soft_limit = _samples(settings.max_utterance_soft_s * 1000)
        self._hard_limit = _samples(settings.max_utterance_s * 1000)
        self._recent: deque[ScoredFrame] = deque()  # may become pre-roll; never reaches into the last segment
        self._onset_run = 0  # speech frames in a row
        self._open: _OpenUtterance | None = None
        self._speech_end: int | None = None  # of the last utterance, if a pause ended it

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def is_quiet(self) -> bool:
        """No utterance is open, and no onset is pending."""
        return not self._open and not self._onset_run

    @property
    def is_speaking(self) -> bool:
        return self._open is not None and self._open.is_speaking

    @property
    def pause(self) -> tuple[int, int] | None:
        """First and last frame of the segment if the current pause is the end.

        None until all these frames have arrived.
        """
        utterance = self._open
        if not utterance or utterance.is_speaking or utterance.silence < self._min_pause:
            return None
        if utterance.speech_frames < utterance.min_speech_frames:
            return None
        return utterance.first_seq, utterance.frames[self._kept_frames(utterance) - 1].seq

    @property
    def samples_to_endpoint(self) -> float:
        """Further silence after which the current pause may be the endpoint, at the earliest."""
        length = self._open.frames[-1].end - self._open.frames[0].position
        return min(self.endpointer.shortest, self._required_silence(length)) - self._open.silence

    @property
    def oldest(self) -> ScoredFrame | None:
        """The oldest frame that may still become part of an utterance."""
        frames = self._open.frames if self._open else self._recent
        return frames[0] if frames else None

    def restore(self, started: UtteranceStarted) -> None:
        """Reopens an utterance announced before a restart: pass its frames to `on_frame` from `first_seq` on."""
        min_speech_frames = 1 if started.continues else self._min_speech_frames
        self._open = _OpenUtterance(started.first_seq, started.onset_seq, min_speech_frames)

    def on_frame(self, frame: ScoredFrame) -> list[SegmentEvent]:
        return self._extend(self._open, frame) if self._open else self._detect_onset(frame)

    def continue_speech(self, frames: list[ScoredFrame]) -> list[SegmentEvent]:
        """Starts the rest of an utterance cut in the middle of speech; `frames` follow it without a hole."""
        return self._start(UtteranceStarted(frames[0].seq, frames[0].seq, continues=True), frames)

    def close(self, reason: str) -> list[SegmentEvent]:
        """The stream breaks off here: ends the open utterance and drops the pre-roll."""
        events = self._end(self._open, len(self._open.frames), reason) if self._open and self._open.frames else []
        self._open = None
        self._recent.clear()
        self._onset_run = 0
        return events

    def _detect_onset(self, frame: ScoredFrame) -> list[SegmentEvent]:
        self._recent.append(frame)
        is_speech = frame.probability >= (self._release if self._onset_run else self._threshold)
        self._onset_run = self._onset_run + 1 if is_speech else 0
        while len(self._recent) > self._pre_roll_frames + self._lookback_frames + self._onset_run:
            self._recent.popleft()
        if self._onset_run < self._onset_frames:
            return []
        frames = list(self._recent)
        onset = frames[-self._onset_run]
        if self._speech_end is not None:
            self.endpointer.on_speech_resumed(onset.position - self._speech_end)
        frames = frames[max(0, self._first_leaning(frames) - self._pre_roll_frames) :]
        return self._start(UtteranceStarted(frames[0].seq, onset.seq, continues=False), frames)

    def _first_leaning(self, frames: list[ScoredFrame]) -> int:
        """The index of the first frame that leans towards speech, back from the onset."""
        first = onset = len(frames) - self._onset_run
        for index in range(onset - 1, max(0, onset - self._lookback_frames) - 1, -1):
            if frames[index].probability >= LEANING:
                first = index
            elif first - index > LEANING_HOLE_FRAMES:
                break
        return first

    def _start(self, started: UtteranceStarted, frames: list[ScoredFrame]) -> list[SegmentEvent]:
        self._recent.clear()
        self._onset_run = 0
        self.restore(started)
        return [started, *self._on_frames(frames)]

    def _extend(self, utterance: _OpenUtterance, frame: ScoredFrame) -> list[SegmentEvent]:
        silence_before = utterance.silence
        utterance.add(frame, self._release if utterance.is_speaking else self._threshold)
        if utterance.is_speaking and silence_before >= _samples(MIN_PAUSE_MS):
            self.endpointer.on_speech_resumed(silence_before)
        silence = utterance.silence
        length = frame.end - utterance.frames[0].position
        if silence >= self._required_silence(length):
            kept = self._kept_frames(utterance)
            rest = utterance.frames[kept:]
            is_endpoint = silence >= self.endpointer.length
            events = self._end(utterance, kept, CutReason.SILENCE if is_endpoint else CutReason.SOFT_LIMIT)
            self._speech_end = utterance.speech_end
            return events + self._on_frames(rest)
        return self._split(utterance) if length >= self._hard_limit else []

    def _kept_frames(self, utterance: _OpenUtterance) -> int:
        """With the hard limit, which a gap can pass in the very frame that completes the silence."""
        return utterance.kept_frames(self._padding, self._hard_limit)

    def _required_silence(self, length: int) -> float:
        excess = max(0, length - self._soft_limit) / _samples(SHRINK_S * 1000)
        return max(self._breath, self.endpointer.length * (1 - excess))

    def _split(self, utterance: _OpenUtterance) -> list[SegmentEvent]:
        """Cuts at the hard limit: the rest begins the next utterance."""
        kept = self._least_speech_like(utterance.frames) + 1
        rest = utterance.frames[kept:]
        events = self._end(utterance, kept, CutReason.HARD_LIMIT)
        return events + (self.continue_speech(rest) if rest else [])

    def _least_speech_like(self, frames: list[ScoredFrame]) -> int:
        """The index of the frame to cut after."""
        lengths = [frame.end - frames[0].position for frame in frames]
        earliest = self._hard_limit - min(_samples(SEARCH_S * 1000), self._hard_limit // 2)
        latest = self._hard_limit - min(_samples(GUARD_S * 1000), self._hard_limit // 8)
        candidates = [index for index, length in enumerate(lengths) if earliest <= length <= latest]
        if not candidates:  # the whole range is a gap
            return max(index for index, length in enumerate(lengths) if length <= self._hard_limit)
        return min(candidates, key=lambda index: (_smoothed(frames, index), -index))

    def _end(self, utterance: _OpenUtterance, kept: int, reason: str) -> list[SegmentEvent]:
        self._open = self._speech_end = None
        self.endpointer.reset()
        # where the source was lost, an unknown part of the speech is missing
        required_frames = 1 if reason == CutReason.SOURCE_LOST else utterance.min_speech_frames
        too_short = utterance.speech_frames < required_frames
        return [UtteranceEnded(utterance.first_seq, utterance.frames[kept - 1].seq, reason, too_short)]

    def _on_frames(self, frames: list[ScoredFrame]) -> list[SegmentEvent]:
        return [event for frame in frames for event in self.on_frame(frame)]


def _smoothed(frames: list[ScoredFrame], index: int) -> float:
    window = frames[max(0, index - SMOOTH_FRAMES) : index + SMOOTH_FRAMES + 1]
    return sum(frame.probability for frame in window) / len(window)


def _samples(ms: float) -> int:
    return int(ms * SAMPLE_RATE_HZ / 1000)


def _frames(ms: float) -> int:
    return round(_samples(ms) / FRAME_SAMPLES)
