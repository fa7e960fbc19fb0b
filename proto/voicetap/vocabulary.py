"""The words that `str` fields of messages take, as enums.

The fields stay `str`: a word of a newer sender must not make a message malformed.
"""

from enum import StrEnum


class Purpose(StrEnum):
    """What a Job is for."""

    FINAL = "final"  # of an utterance that has ended; owed until journal has committed its entry
    EARLY = "early"  # the very cut that will be final if this pause is the end
    INTERIM = "interim"  # the newest sound of an open utterance


class SourceStatus(StrEnum):
    """The state of a source."""

    LIVE = "live"
    LOST = "lost"  # the device is gone
    ENDED = "ended"  # the file or pipe is at its end
    STOPPING = "stopping"  # the bundle stops: nothing more will come
    DRAINED = "drained"  # ended or stopping, and all of it is committed


class ServiceState(StrEnum):
    """The state of a program, in its heartbeat."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEGRADED = "degraded"  # works, but `detail` should be read
    DRAINING = "draining"


class CutReason(StrEnum):
    """Why an utterance ended."""

    SILENCE = "silence"
    SOFT_LIMIT = "soft_limit"
    HARD_LIMIT = "hard_limit"
    SOURCE_LOST = "source_lost"
    SOURCE_ENDED = "source_ended"


class Reason(StrEnum):
    """Why an entry has no text, or why audio or an utterance is missing."""

    TOO_SHORT = "too_short"
    NO_SPEECH = "no_speech"
    REPETITION = "repetition"
    COMPRESSION_RATIO = "compression_ratio"
    TOO_MANY_WORDS = "too_many_words"
    WORKER_LOST = "worker_lost"
    DECODE_ERROR = "decode_error"
    STOPPED = "stopped"
    CUTS_LOST = "cuts_lost"
    OVERRUN = "overrun"
    OVERFLOW = "overflow"
    DEVICE_LOST = "device_lost"
    CAPTURE_RESTART = "capture_restart"
    DAMAGED = "damaged"  # a part of a file; or a frame in capture's ring, replayed as silence
    PAUSED = "paused"  # a file has no sound there
