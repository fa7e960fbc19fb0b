"""Records everything that happens in a simulated world, and the violations seen while it happens."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from voicetap.codec import UtteranceId
from voicetap.messages import (
    AudioFrame,
    Committed,
    Entry,
    Failed,
    Final,
    Gap,
    HistoryRequest,
    Interim,
    Job,
    ReplayRequest,
    SpeechStarted,
    SpeechStopped,
    Status,
)
from voicetap.vocabulary import Reason

if TYPE_CHECKING:
    from .network import Sender

SOMETIMES = (  # must happen in some worlds, or the simulation proves nothing
    "frames requested again",
    "dropped at a high-water mark",
    "duplicate suppressed",
    "two processes sent a result",
    "job dispatched again",
    "killed by the watchdog",
    "history requested",
    "published while the disk is full",
    "gap bridged",
    "job: early",
    "job: interim",
    "Interim published",
    "cut: silence",
    "cut: soft_limit",
    "cut: hard_limit",
    "cut: source_lost",
    "cut: source_ended",
    "Final: too_short",
    "Failed: worker_lost",
    "Failed: decode_error",
    "Gap: capture_restart",
    "Gap: device_lost",
)
RARELY = ("Failed: overrun", "Gap: overrun", "Gap: overflow")  # must happen in some of many more worlds

Live = SpeechStarted | SpeechStopped | Status


class Witness:
    """`frames`: all frames committed to a ring, by source and stream, in order; `read_s`: when each was read from its
    source. `overrun_at`: the number of the newest frame when an overrun was first sent. `happened`: how often what
    happened."""

    def __init__(self) -> None:
        self.frames: dict[tuple[str, str], list[AudioFrame]] = defaultdict(list)
        self.read_s: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.overrun_at: dict[UtteranceId, int] = {}
        self.announced: set[UtteranceId] = set()  # by vad
        self.started: set[UtteranceId] = set()  # as received by an app
        self.published: dict[int, UtteranceId] = {}
        self._senders: dict[UtteranceId, set[int]] = defaultdict(set)  # process ids
        self._acknowledged: set[UtteranceId] = set()
        self._committed_text: dict[UtteranceId, str] = {}  # published
        self.happened: Counter[str] = Counter()
        self.violations: list[str] = []

    def count(self, what: str, times: int = 1) -> None:
        self.happened[what] += times

    def add_violation(self, text: str) -> None:
        self.violations.append(text)

    def frames_of(self, source: str) -> list[AudioFrame]:
        return [frame for (name, _), frames in self.frames.items() if name == source for frame in frames]

    def on_frame_committed(self, frame: AudioFrame, read_s: float) -> None:
        frames = self.frames[frame.source, frame.stream]
        if frames and frame.seq != frames[-1].seq + 1:
            self.add_violation(f"frame {frame.seq} of {frame.stream} follows {frames[-1].seq}")
        frames.append(frame)
        self.read_s[frame.source, frame.stream].append(read_s)

    def on_live_message(self, message: Live) -> None:
        """Called when an app receives one."""
        if isinstance(message, SpeechStarted):
            self.started.add(message.utterance_id)

    def on_sent(self, sender: "Sender", message: object) -> None:
        """Called when any process sends a message."""
        match message:
            case SpeechStarted():
                self.announced.add(message.utterance_id)
            case ReplayRequest():
                self.count("frames requested again")
            case Job():
                self.count(f"cut: {message.cut_reason}")
                self.count(f"job: {message.purpose}")
                self.count("job dispatched again", message.attempt > 0)
                self.count("gap bridged", message.gap_s > 0)
            case Committed():
                self.count("duplicate suppressed", message.utterance_id in self._acknowledged)
                self._acknowledged.add(message.utterance_id)
            case HistoryRequest():
                self.count("history requested")
            case Interim() if sender.link.name == "transcript":
                self._on_interim(message)
            case Final() | Failed() | Gap():
                self._on_entry(sender, message)

    def _on_interim(self, interim: Interim) -> None:
        self.count("Interim published")
        committed_text = self._committed_text.get(interim.utterance_id, "")
        if not interim.committed_text.startswith(committed_text):
            self.add_violation(f"{interim} does not continue {committed_text!r}")
        if interim.utterance_id in self.published.values():
            self.add_violation(f"{interim} comes after its entry")
        self._committed_text[interim.utterance_id] = interim.committed_text

    def _on_entry(self, sender: "Sender", entry: Entry) -> None:
        if sender.link.name == "results":
            senders = self._senders[entry.utterance_id]
            if getattr(entry, "reason", "") == Reason.OVERRUN:
                self.overrun_at.setdefault(entry.utterance_id, len(self.frames[entry.utterance_id[:2]]) - 1)
            self.count("entry sent again", sender.process.pid in senders)
            senders.add(sender.process.pid)
            return self.count("two processes sent a result", len(senders) > 1)
        if sender.link.name == "transcript" and isinstance(entry, Final):
            self.count("words published", len(entry.text.split()))
        self.count(f"{type(entry).__name__}: {getattr(entry, 'reason', '') or 'text'}")
        if not entry.journal_seq:
            return self.count("published while the disk is full")
        former = self.published.setdefault(entry.journal_seq, entry.utterance_id)
        if former != entry.utterance_id:
            self.add_violation(f"journal_seq {entry.journal_seq} was {former}, and is {entry.utterance_id}")
