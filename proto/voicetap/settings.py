"""The table of all settings. `config` loads them; docs/settings.md is generated from it.

`[vad] threshold` in voicetap.toml is VOICETAP_VAD_THRESHOLD in the environment, and --help's default.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

WITHOUT_EFFECT = (("transcribe", "previous_text_max_gap_s"), ("transcribe", "carry_over_s"))  # accepted, with a warning
RING_MARGIN_S = 5.0  # pre-roll, a restart of vad, and the way to it
WARM_UP_MARGIN_S = 3.0  # of sound that a restarted vad needs from before the utterance, and an onset
RING_SHARE = 7 / 8  # of the ring: a file is not read further ahead of what vad needs


def setting(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    formerly: str = "",
) -> Any:
    """A field of a settings class: its default, its meaning, what it may be, and its name in the version before."""
    limits = {"minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata={"doc": doc, "formerly": formerly, **limits})


# fmt: off
@dataclass(frozen=True)
class CaptureSettings:
    pace: str = setting("realtime", "how fast files are read: realtime, or max (as fast as vad follows)", choices=("realtime", "max"))
    channel: int = setting(-1, "channel of the devices and files to use, from 0; -1 mixes all, or takes the loudest where that would lose the voice", minimum=-1, maximum=63)
    raw_rate_hz: int = setting(16_000, "sample rate of raw and stdin", minimum=4000, maximum=192_000)
    raw_channels: int = setting(1, "channels of raw and stdin, interleaved", minimum=1, maximum=64)
    raw_encoding: str = setting("s16le", "samples of raw and stdin", choices=("s16le", "s16be", "u8", "s32le", "f32le", "f32be", "mulaw", "alaw"))
    device_timeout_s: float = setting(1.0, "a device silent for this long counts as lost and is opened anew", minimum=0.1, maximum=60, formerly="no_data_s")
    retry_max_s: float = setting(10.0, "longest wait between two tries to open a lost device", minimum=0.1, maximum=300)
    ring_s: float = setting(600.0, "sound kept for repair, in seconds (32 kB each)", minimum=10, maximum=7200)


@dataclass(frozen=True)
class VadSettings:
    threshold: float = setting(0.5, "speech probability that starts speech", minimum=0.01, maximum=0.99)
    release_threshold: float = setting(0.35, "speech probability below which speech pauses", minimum=0.01, maximum=0.99)
    onset_ms: int = setting(96, "speech this long starts an utterance", minimum=32, maximum=1000)
    pre_roll_ms: int = setting(400, "sound kept from before the onset", minimum=0, maximum=2000)
    onset_lookback_ms: int = setting(992, "how far before the onset sound that resembles speech still belongs to it", minimum=0, maximum=3000)
    min_speech_ms: int = setting(96, "utterances with less speech than this are not transcribed", minimum=0, maximum=5000)
    endpoint_ms: int = setting(544, "silence that ends an utterance; counted in frames of 32 ms", minimum=64, maximum=10_000)
    adaptive_endpoint: bool = setting(False, "end sooner after a finished sentence, later in the middle of one")
    endpoint_min_ms: int = setting(350, "the shortest silence that may end one, if adaptive", minimum=64, maximum=10_000)
    endpoint_max_ms: int = setting(1000, "the longest that may be waited for, if adaptive", minimum=64, maximum=10_000)
    speech_pad_ms: int = setting(128, "silence kept after the last speech", minimum=0, maximum=2000, formerly="tail_ms")
    max_utterance_soft_s: float = setting(12.0, "from this length on, any breath ends the utterance", minimum=1, maximum=60, formerly="soft_limit_s")
    max_utterance_s: float = setting(25.0, "longest utterance; cut at its least speechy point", minimum=2, maximum=60, formerly="hard_limit_s")
    interims: bool = setting(True, "publish words while they are spoken, while a tap subscribes to them")
    interim_share: float = setting(0.25, "share of the workers' time that interims may take", minimum=0.01, maximum=1)
    lease_s: float = setting(1.0, "a worker silent for this long loses its job to another", minimum=0.75, maximum=60)
    max_attempts: int = setting(3, "workers that may be lost over one utterance before it counts as failed", minimum=1, maximum=20)


@dataclass(frozen=True)
class TranscribeSettings:
    engine: str = setting("auto", "auto, faster-whisper, pocketsphinx, or one added by an entry point")
    model: str = setting("tiny.en", "faster-whisper: a size (tiny.en … large-v3-turbo), a directory or a hub id")
    offline: bool = setting(False, "never ask the hub for a model")
    device: str = setting("auto", "where faster-whisper computes", choices=("auto", "cpu", "cuda"))
    compute_type: str = setting("default", "CTranslate2's compute type; default is int8 on a CPU, float16 on CUDA")
    cpu_threads: int = setting(0, "threads of one worker; 0 takes all cores divided by the workers", minimum=0, maximum=256, formerly="threads")
    workers: int = setting(1, "number of transcribe processes", minimum=1, maximum=32)
    beam_size: int = setting(5, "beam of the search for finals; 1 is greedy", minimum=1, maximum=20)
    language: str = setting("", "language code or name such as en; of several, with commas between, one is detected; empty: of all (.en models are English)")
    task: str = setting("transcribe", "transcribe, or translate into English", choices=("transcribe", "translate"))
    initial_prompt: str = setting("", "text that sets style and vocabulary")
    hotwords: str = setting("", "words to expect, separated by spaces")
    word_timestamps: bool = setting(True, "times and probabilities of every word", formerly="word_times")
    deadline_factor: float = setting(6.0, "a decode may take this many times the length of its audio", minimum=0.1, maximum=1000)
    deadline_min_s: float = setting(20.0, "and at least this long", minimum=0.1, maximum=3600)


@dataclass(frozen=True)
class JournalSettings:
    data_dir: str = setting("", "directory that keeps the history across reboots; empty keeps it in runtime_dir", formerly="persist")
    max_age_days: float = setting(30.0, "older entries are deleted; 0 keeps all", minimum=0)
    max_mb: float = setting(100.0, "the oldest entries are deleted beyond this size; 0 keeps all", minimum=0)
    reorder_timeout_s: float = setting(600.0, "longest wait for a missing utterance before later ones are published", minimum=0, maximum=3600, formerly="order_wait_s")


@dataclass(frozen=True)
class WatchdogSettings:
    heartbeat_timeout_s: float = setting(1.5, "a service without a heartbeat for this long is killed and started again", minimum=1, maximum=60, formerly="silent_s")
    startup_timeout_s: float = setting(5.0, "heartbeat timeout before the first ready; doubled, to 8 times at most, after a start that timed out", minimum=1, maximum=600, formerly="start_s")
    give_up_s: float = setting(60.0, "systemd, or compose, starts everything anew when a service cannot be brought back for this long", minimum=1, maximum=3600, formerly="unwell_s")


@dataclass(frozen=True)
class Settings:
    runtime_dir: str = setting("", "directory of sockets and state; default $XDG_RUNTIME_DIR/voicetap, else /run/voicetap")
    sources: tuple[str, ...] = setting(("mic",), "what to listen to: [NAME=]mic | mic:DEVICE | file:PATH | raw:PATH, one entry each")
    addresses: tuple[str, ...] = setting((), "addresses other than the default, LINK=ADDRESS, such as transcript=tcp://127.0.0.1:5708")
    curve_dir: str = setting("", "directory of the CURVE keys that tcp beyond this machine requires (voicetap keys --help)")
    tap_group: str = setting("", "group whose members may tap transcripts, as other users of this machine; empty: none")
    log_level: str = setting("INFO", "how much the services say", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    loop_timeout_s: float = setting(5.0, "of a service started by hand, without a watchdog: a work loop that has not turned for this long ends it", minimum=0.5, maximum=600, formerly="stall_s")
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    vad: VadSettings = field(default_factory=VadSettings)
    transcribe: TranscribeSettings = field(default_factory=TranscribeSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
# fmt: on


def contradictions(settings: Settings) -> Iterator[str]:
    """One line for every pair of settings that are each in range but do not work together."""
    vad, capture = settings.vad, settings.capture
    if vad.release_threshold > vad.threshold:
        yield "vad.release_threshold must not be above vad.threshold"
    if vad.max_utterance_soft_s > vad.max_utterance_s:
        yield "vad.max_utterance_soft_s must not be above vad.max_utterance_s"
    if vad.endpoint_min_ms > vad.endpoint_max_ms:
        yield "vad.endpoint_min_ms must not be above vad.endpoint_max_ms"
    if capture.ring_s < (shortest_s := shortest_ring_s(vad.max_utterance_s)):
        yield f"capture.ring_s must be at least {shortest_s} for vad.max_utterance_s = {vad.max_utterance_s:g}"


def shortest_ring_s(max_utterance_s: float) -> int:
    """With a shorter ring a file stops in the longest utterance: capture waits for vad, and vad for more sound."""
    return math.ceil(max(max_utterance_s + RING_MARGIN_S, (max_utterance_s + WARM_UP_MARGIN_S) / RING_SHARE))
