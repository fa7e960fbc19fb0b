"""Cuts a stream into utterances: speech probabilities in, starts and ends out.

Every timer counts samples of the stream, so a slow or stalled process cuts exactly as a fast one. Spans are
whole frames, and no frame is in two of them.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap.settings import VadSettings

from .endpoint import Endpoint

BREATH_MS = 96  # the pause that ends an utterance which is already long
SHRINK_S = 2.0  # how long beyond the soft limit it takes until a breath is enough
SEARCH_S = 7.0  # how far back from the hard limit the least speechy point is looked for
GUARD_S = 0.5  # but not in the newest sound: what follows it is not known yet
SMOOTH_FRAMES = 2  # on either side
MIN_PAUSE_MS = 96  # shorter ones are inside of words


class Scored(NamedTuple):
    """One frame as the segmenter sees it."""

    seq: int
    position: int
    probability: float

    @property
    def end(self) -> int:
        return self.position + FRAME_SAMPLES


@dataclass(frozen=True)
class Started:
    """An utterance began with frame `first_seq`, pre-roll included; its speech with `onset_seq`.

    `continues`: it is the rest of one that was cut in the middle; that is no noise, however short.
    """

    first_seq: int
    onset_seq: int
    continues: bool


@dataclass(frozen=True)
class Ended:
    """The utterance is `first_seq` to `last_seq`, both included. `reason` is a Job's cut_reason."""

    first_seq: int
    last_seq: int
    reason: str
    too_short: bool


Event = Started | Ended


@dataclass
class _Utterance:
    first_seq: int
    onset_seq: int
    min_speech_frames: int
    frames: list[Scored] = field(default_factory=list)
    speaking: bool = False
    speech_frames: int = 0
    speech_end: int = 0

    @property
    def silence(self) -> int:
        """Samples since the last speech."""
        return self.frames[-1].end - self.speech_end if self.frames else 0

    def kept(self, tail: int) -> int:
        """How many frames a cut keeps that is made in this pause."""
        return bisect_right(self.frames, self.speech_end + tail, key=lambda frame: frame.end)

    def hear(self, frame: Scored, threshold: float) -> None:
        self.frames.append(frame)
        self.speaking = frame.probability >= threshold
        self.speech_frames += self.speaking
        if self.speaking or frame.seq <= self.onset_seq:  # no endpoint before the onset
            self.speech_end = frame.end


class Segmenter:
    """One stream. Feed every frame in order; `close` where it breaks off."""

    def __init__(self, settings: VadSettings):
        self._threshold, self._release = settings.threshold, settings.release_threshold
        self._onset_frames = max(1, _frames(settings.onset_ms))
        self._pre_roll_frames = _frames(settings.pre_roll_ms)
        self._min_speech_frames = -(-_samples(settings.min_speech_ms) // FRAME_SAMPLES)
        self.endpoint = Endpoint(settings)
        self._breath = min(_samples(BREATH_MS), self.endpoint.length)
        self._tail = _samples(settings.speech_pad_ms)
        self._pause = max(_samples(MIN_PAUSE_MS), self._tail - FRAME_SAMPLES + 1)  # then one more frame is too many
        self._soft = _samples(settings.max_utterance_soft_s * 1000)
        self._hard = _samples(settings.max_utterance_s * 1000)
        self._recent: deque[Scored] = deque()  # may become pre-roll; never reaches into the last cut
        self._run_frames = 0
        self._open: _Utterance | None = None
        self._ended: int | None = None  # where the last speech did, if it was a pause that ended it

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks, or seems to begin."""
        return not self._open and not self._run_frames

    @property
    def is_speaking(self) -> bool:
        return self._open is not None and self._open.speaking

    @property
    def pause(self) -> tuple[int, int] | None:
        """First and last frame of the cut there will be if this pause is the end; none before all of them are here."""
        utterance = self._open
        if not utterance or utterance.speaking or utterance.silence < self._pause:
            return None
        if utterance.speech_frames < utterance.min_speech_frames:
            return None
        return utterance.first_seq, utterance.frames[utterance.kept(self._tail) - 1].seq

    @property
    def ends_in(self) -> float:
        """Samples of silence until this pause may be the end, at the soonest."""
        length = self._open.frames[-1].end - self._open.frames[0].position
        return min(self.endpoint.soonest, self._required_silence(length)) - self._open.silence

    @property
    def oldest(self) -> Scored | None:
        """The oldest frame that may still be part of an utterance."""
        frames = self._open.frames if self._open else self._recent
        return frames[0] if frames else None

    def resume(self, started: Started) -> None:
        """Goes on with an utterance that was announced before a restart: feed it from `first_seq` on."""
        min_speech_frames = 1 if started.continues else self._min_speech_frames
        self._open = _Utterance(started.first_seq, started.onset_seq, min_speech_frames)

    def feed(self, frame: Scored) -> list[Event]:
        return self._follow(self._open, frame) if self._open else self._listen(frame)

    def go_on(self, frames: list[Scored]) -> list[Event]:
        """They follow without a hole on an utterance that was cut in the middle: its rest."""
        return self._start(Started(frames[0].seq, frames[0].seq, continues=True), frames)

    def close(self, reason: str) -> list[Event]:
        """The stream breaks off here: ends the open utterance, forgets what was before."""
        events = self._end(self._open, len(self._open.frames), reason) if self._open and self._open.frames else []
        self._open = None
        self._recent.clear()
        self._run_frames = 0
        return events

    def _listen(self, frame: Scored) -> list[Event]:
        self._recent.append(frame)
        speech = frame.probability >= (self._release if self._run_frames else self._threshold)
        self._run_frames = self._run_frames + 1 if speech else 0
        while len(self._recent) > self._pre_roll_frames + self._run_frames:
            self._recent.popleft()
        if self._run_frames < self._onset_frames:
            return []
        frames = list(self._recent)
        onset = frames[-self._run_frames]
        if self._ended is not None:
            self.endpoint.go_on(onset.position - self._ended)  # if that was too short for an end, it is known now
        return self._start(Started(frames[0].seq, onset.seq, continues=False), frames)

    def _start(self, started: Started, frames: list[Scored]) -> list[Event]:
        self._recent.clear()
        self._run_frames = 0
        self.resume(started)
        return [started, *self._feed_all(frames)]

    def _follow(self, utterance: _Utterance, frame: Scored) -> list[Event]:
        before = utterance.silence
        utterance.hear(frame, self._release if utterance.speaking else self._threshold)
        if utterance.speaking and before >= _samples(MIN_PAUSE_MS):
            self.endpoint.go_on(before)
        silence = utterance.silence
        length = frame.end - utterance.frames[0].position
        if silence >= self._required_silence(length):
            kept = utterance.kept(self._tail)
            rest = utterance.frames[kept:]
            events = self._end(utterance, kept, "silence" if silence >= self.endpoint.length else "soft_limit")
            self._ended = utterance.speech_end
            return events + self._feed_all(rest)
        return self._split(utterance) if length >= self._hard else []

    def _required_silence(self, length: int) -> float:
        beyond = max(0, length - self._soft) / _samples(SHRINK_S * 1000)
        return max(self._breath, self.endpoint.length * (1 - beyond))

    def _split(self, utterance: _Utterance) -> list[Event]:
        """At the hard limit: the rest is the beginning of the next utterance."""
        kept = self._least_speechy(utterance.frames) + 1
        rest = utterance.frames[kept:]
        events = self._end(utterance, kept, "hard_limit")
        return events + (self.go_on(rest) if rest else [])

    def _least_speechy(self, frames: list[Scored]) -> int:
        """The index of the frame to cut after."""
        lengths = [frame.end - frames[0].position for frame in frames]
        earliest = self._hard - min(_samples(SEARCH_S * 1000), self._hard // 2)
        latest = self._hard - min(_samples(GUARD_S * 1000), self._hard // 8)
        places = [index for index, length in enumerate(lengths) if earliest <= length <= latest]
        if not places:  # a gap where they would be
            return max(index for index, length in enumerate(lengths) if length <= self._hard)
        return min(places, key=lambda index: (_smoothed(frames, index), -index))

    def _end(self, utterance: _Utterance, kept: int, reason: str) -> list[Event]:
        self._open = self._ended = None
        self.endpoint.reset()
        needed_frames = 1 if reason == "source_lost" else utterance.min_speech_frames  # how much was lost nobody knows
        too_short = utterance.speech_frames < needed_frames
        return [Ended(utterance.first_seq, utterance.frames[kept - 1].seq, reason, too_short)]

    def _feed_all(self, frames: list[Scored]) -> list[Event]:
        return [event for frame in frames for event in self.feed(frame)]


def _smoothed(frames: list[Scored], index: int) -> float:
    around = frames[max(0, index - SMOOTH_FRAMES) : index + SMOOTH_FRAMES + 1]
    return sum(frame.probability for frame in around) / len(around)


def _samples(ms: float) -> int:
    return int(ms * SAMPLE_RATE_HZ / 1000)


def _frames(ms: float) -> int:
    return round(_samples(ms) / FRAME_SAMPLES)
