"""Every message on the bus, and the constants of its audio. This file knows nothing about sockets.

Units are part of the names. Seconds and positions count from the start of a stream, in samples of
that stream: `position` 16000 is `1.0` s whatever the clocks say. `captured_ns` is the host's monotonic
clock, for latency; `wall_ns` is the wall clock, for people.

To evolve: add a field with a default. Never rename, retype or reuse one; make a new message instead.
"""

from dataclasses import dataclass

from .codec import UtteranceId, message
from .vocabulary import Purpose

PROTOCOL_VERSION = 1
SAMPLE_RATE_HZ = 16_000
SAMPLE_BYTES = 2  # signed 16 bit, little endian, one channel
FRAME_SAMPLES = 512  # 32 ms, the block Silero wants at 16 kHz
FRAME_BYTES = FRAME_SAMPLES * SAMPLE_BYTES
FRAME_NS = FRAME_SAMPLES * 1_000_000_000 // SAMPLE_RATE_HZ


# ---- audio: capture to vad ----------------------------------------------------------------------


@message
class AudioFrame:
    """FRAME_SAMPLES of sound: s16le mono 16 kHz.

    `seq` is one more than the last; it goes on after a restart of capture, as long as `stream` stays.
    A jump in `position` without one in `seq` is sound the device never delivered; `gap_reason` says why.
    """

    source: str
    stream: str
    seq: int
    position: int
    captured_ns: int
    wall_ns: int
    pcm: bytes
    gap_reason: str = ""


@message
class AudioHead:
    """The range of frames in capture's ring, ten times a second, so that a lost last frame is detected.

    `state`: `live`; `lost` (the device is gone, `detail` says how); `ended` (the file or pipe is at its
    end); `stopping` (the bundle stops: nothing more will come).
    """

    source: str
    stream: str
    first_seq: int
    next_seq: int
    next_position: int
    state: str
    detail: str = ""


@message
class ReplayRequest:
    """Requests the frames `from_seq` up to, not including, `to_seq`, on the topic `replay/<requester>`."""

    source: str
    stream: str
    from_seq: int
    to_seq: int
    requester: str


@message
class AudioProgress:
    """The progress of the reader. A source faster than real time waits for it, and so does a capture that stops."""

    source: str
    stream: str
    needed_seq: int  # the oldest frame it may still ask for
    next_seq: int = 0  # the first frame that it does not have yet
    state: str = ""  # of the source, in the last head received; drained: ended, and all of it is committed


# ---- speech: vad to transcribe ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word; its times are those of the stream."""

    word: str
    start_s: float
    end_s: float
    probability: float


@message
class Job:
    """One utterance to transcribe. Its span never changes; `attempt` counts workers lost over it.

    `speech` has one bit per frame of `pcm`, the least significant first: whether Silero's probability of speech was 0.5
    or more. Empty where it is not known.

    `purpose` is final, or for an utterance that is still open: early (the very cut that will be final if this pause
    is its end) or interim (what there is of it so far). These two are answered with a Hypothesis, and never owed.
    """

    utterance_id: UtteranceId
    attempt: int
    start_position: int
    end_position: int
    ended_ns: int  # captured_ns of the last frame
    wall_ns: int  # of the first frame
    cut_reason: str  # silence, soft_limit, hard_limit, source_lost, source_ended
    pcm: bytes
    gap_s: float = 0.0  # silence put in where the device delivered nothing
    purpose: str = Purpose.FINAL
    speech: bytes = b""


@message
class WorkerReport:
    """A worker's state, on every change, and five times a second while it holds something: its credit, claim and lease.

    A worker may be given a job when `received` equals the jobs sent to this `boot_id` and `decoding` is empty.
    `holding` lists what it owes: jobs that are to be final, and results that journal has not committed.
    """

    worker: str
    boot_id: str
    state: str  # starting, ready, busy, draining
    received: int
    decoding: tuple[UtteranceId, ...]  # none or one
    holding: tuple[UtteranceId, ...]


@message
class Hypothesis:
    """What an early or interim Job sounded like: for vad, which alone knows whether it is worth publishing.

    The worker keeps the result of an early Job: a final Job of the same span is answered with it at once.
    """

    worker: str
    boot_id: str
    utterance_id: UtteranceId
    purpose: str
    start_position: int  # of the sound that was decoded
    end_position: int
    text: str
    decode_s: float
    words: tuple[Word, ...] = ()
    avg_logprob: float = 0.0
    reason: str = ""  # why it has no text, as in Final
    engine: str = ""
    model: str = ""


# ---- results: vad and transcribe to journal, journal to everyone ----------------------------------


@message
class Final:
    """What was said in one utterance; nothing more will come for it. An empty `text` has a `reason`."""

    utterance_id: UtteranceId
    source: str
    text: str
    start_s: float
    end_s: float
    wall_ns: int  # of the first sample
    ended_ns: int  # captured_ns of the last frame
    cut_reason: str
    reason: str = ""  # too_short, no_speech, repetition, ...
    words: tuple[Word, ...] = ()
    language: str = ""
    language_probability: float = 0.0
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0
    engine: str = ""
    model: str = ""
    gap_s: float = 0.0
    decode_s: float = 0.0
    attempt: int = 0
    is_final: bool = True
    journal_seq: int = 0  # given by journal when it is stored; gapless


@message
class Failed:
    """An utterance that could not be transcribed, and why: the place where words are missing."""

    utterance_id: UtteranceId
    source: str
    start_s: float
    end_s: float
    wall_ns: int
    reason: str  # worker_lost, decode_error, overrun, stopped, cuts_lost, ...
    detail: str = ""
    attempt: int = 0
    is_final: bool = True
    journal_seq: int = 0

    @property
    def text(self) -> str:
        """Empty: every entry has a text, so that a reader may print any of them."""
        return ""


@message
class Gap:
    """Sound that never reached capture. It has a number of its own between the utterances."""

    utterance_id: UtteranceId
    source: str
    start_s: float
    end_s: float
    wall_ns: int
    reason: str  # device_lost, capture_restart, overflow, overrun, damaged, paused, stopped; cuts_lost: start unknown
    journal_seq: int = 0

    @property
    def text(self) -> str:
        """Empty: every entry has a text, so that a reader may print any of them."""
        return ""


Entry = Final | Failed | Gap


@message
class Interim:
    """What an utterance seems to say so far. `committed_text` only ever grows; the rest may change."""

    utterance_id: UtteranceId
    source: str
    revision: int
    text: str
    committed_text: str
    start_s: float
    end_s: float
    engine: str = ""
    model: str = ""
    is_final: bool = False


@message
class SpeechStarted:
    """Somebody began to speak. Exactly one Final or Failed of this id follows."""

    utterance_id: UtteranceId
    source: str
    start_s: float  # with pre-roll
    onset_s: float
    captured_ns: int
    wall_ns: int


@message
class SpeechStopped:
    """The utterance ended at `end_s`; its text follows."""

    utterance_id: UtteranceId
    source: str
    end_s: float
    reason: str


@message
class Status:
    """Something people should know about a source or a service: a device lost or found, a full disk."""

    source: str  # a source, or a service where no source is meant
    state: str
    detail: str
    wall_ns: int


@message
class Committed:
    """journal has committed this entry: vad may drop the utterance, the worker its result."""

    utterance_id: UtteranceId
    journal_seq: int


@message
class JournalHead:
    """The range of the journal, twice a second, so that a lost last entry is detected.

    `committed` has one id per stream: everything up to its number is committed. `highest` has the highest of which an
    entry has come, although others before it may be missing.
    """

    journal_id: str
    first_seq: int
    next_seq: int
    committed: tuple[UtteranceId, ...] = ()
    highest: tuple[UtteranceId, ...] = ()
    boot_id: str = ""  # changes with every start of journal
    interims_wanted: bool = True  # a tap subscribes to them; else vad requests none
    unstored: int = 0  # entries in memory only, because the disk is full


@message
class HistoryRequest:
    """Requests the entries from `since` on, at most `limit`, on the topic `history/<requester>`."""

    requester: str
    since: int
    limit: int


@message
class HistoryEnd:
    """The end of an answer to a HistoryRequest: ask on from `next_seq` unless it is the head."""

    requester: str
    journal_id: str
    first_seq: int  # older entries are gone: retention
    next_seq: int  # of this answer
    head_seq: int  # of the journal
    boot_id: str = ""
    unstored: int = 0  # entries in memory only, because the disk is full; not in the answer


# ---- life: every service to everyone -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """One source as a service sees it."""

    source: str
    stream: str
    state: str  # live, lost, ended, drained
    detail: str = ""
    position_s: float = 0.0
    backlog: int = 0  # entries not yet committed
    gaps: int = 0
    failed: int = 0  # utterances given up since the service was started
    early_jobs: int = 0  # pauses whose sound was decoded before it was known whether they were the end
    early_used: int = 0  # of these: they were; the others were wasted
    interims: str = (
        ""  # degraded by load to: full, slower, newest (of the sources), off; untapped; empty: there are none
    )
    level_dbfs: float = -120.0  # RMS of the loudest frame of the last seconds; -120: silence, or not measured
    noise_dbfs: float = -120.0  # RMS of the quietest one
    clipping: float = 0.0  # share of the last seconds' samples at full scale


@message
class Heartbeat:
    """The work loop of `name` has turned. Sent by that loop, never by a helper thread."""

    service: str
    name: str  # the program: the service, with a number where there may be several
    pid: int
    boot_id: str  # changes with every start
    seq: int
    state: str  # starting, ready, busy, degraded, draining
    detail: str = ""
    queue_depth: int = 0
    drops: int = 0  # messages this program could not send or would not read
    deadline_ns: int = 0  # monotonic: past it the job in hand counts as hung; 0 is none
    cpu_s: float = 0.0
    rss_bytes: int = 0
    sources: tuple[SourceState, ...] = ()
