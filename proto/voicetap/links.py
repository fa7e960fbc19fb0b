"""The table of every socket of the bundle. Addresses, options, docs, tools and tests derive from it.

A link is PUB/SUB (a slow reader loses messages, and can detect it) or PUSH/PULL (a full queue is reported to the
sender). One service binds it, all others connect. A link with `per` exists once per source, worker or
program: `AUDIO.of("kitchen")`. PUB/SUB messages have two parts, topic and message; PUSH/PULL one.
"""

from dataclasses import dataclass, replace
from enum import Enum

from . import messages as m
from .codec import type_name
from .config import nearest
from .errors import SettingsError
from .settings import Settings

_KIB = 1024


class Pattern(Enum):
    PUB_SUB = "PUB/SUB"
    PUSH_PULL = "PUSH/PULL"


@dataclass(frozen=True)
class Link:
    name: str
    pattern: Pattern
    writers: tuple[str, ...]  # services that send
    bound_by: str  # the one service that binds
    carries: tuple[type, ...]
    depth: int  # high-water mark on either side, in messages
    rate_hz: float  # expected, as `voicetap tap LINK --rate` shows; 0 is on demand
    max_bytes: int  # of one message; a peer that sends more is disconnected
    per: str = ""  # source, worker or program
    key: str = ""
    for_clients: bool = False  # taps use it, also those of other users and other machines where they are allowed to
    tracks_subscribers: bool = False  # its sender can ask which topics are subscribed to

    def of(self, key: str) -> "Link":
        """The link of one source, worker or program."""
        return replace(self, key=key)

    @property
    def full_name(self) -> str:
        return f"{self.name}-{self.key}" if self.key else self.name

    def address(self, runtime_dir: str, addresses: dict[str, str]) -> str:
        """The address configured for the link, else a socket file in the runtime directory.

        Raises SettingsError for a socket path longer than the kernel takes.
        """
        if self.full_name in addresses:
            return addresses[self.full_name]
        path = f"{runtime_dir}/{self.full_name}"
        if len(path.encode()) > MAX_PATH_BYTES:
            raise SettingsError(f"{path} is longer than {MAX_PATH_BYTES} bytes: choose a shorter runtime_dir")
        return f"ipc://{path}"


MAX_PATH_BYTES = 107  # of a unix socket
EVERY_SERVICE = "every service"  # as its binder: each writer binds its own
_PUB, _PUSH = Pattern.PUB_SUB, Pattern.PUSH_PULL
_ENTRY = (m.Final, m.Failed, m.Gap)
_LIVE = (m.Interim, m.SpeechStarted, m.SpeechStopped, m.Status)

# fmt: off
#                  name          pattern  writers                  bound by      carries                                depth  rate   bytes
AUDIO      = Link("audio",       _PUB,  ("capture",),             "capture",    (m.AudioFrame, m.AudioHead),            1000,  41.25, 4 * _KIB,    "source")
REPLAY     = Link("replay",      _PUSH, ("vad",),                 "capture",    (m.ReplayRequest, m.AudioProgress),      100,  10,    4 * _KIB,    "source")
JOBS       = Link("jobs",        _PUSH, ("vad",),                 "transcribe", (m.Job,),                                  4,  0,     4096 * _KIB, "worker")
WORKERS    = Link("workers",     _PUSH, ("transcribe",),          "vad",        (m.WorkerReport, m.Hypothesis),         1000,  5,    512 * _KIB)
RESULTS    = Link("results",     _PUSH, ("vad", "transcribe", "watchdog"), "journal", (*_ENTRY, *_LIVE),                      1000,  0,     1024 * _KIB)
COMMITS    = Link("commits",     _PUB,  ("journal",),             "journal",    (m.Committed, m.JournalHead),          10_000,  2,     64 * _KIB)
TRANSCRIPT = Link("transcript",  _PUB,  ("journal",),             "journal",    (*_ENTRY, *_LIVE, m.JournalHead, m.HistoryEnd), 1000, 2, 1024 * _KIB, for_clients=True, tracks_subscribers=True)
HISTORY    = Link("history",     _PUSH, ("any app",),             "journal",    (m.HistoryRequest,),                     100,  0,     4 * _KIB, for_clients=True)
HEARTBEAT  = Link("heartbeat",   _PUB,  (EVERY_SERVICE,),         EVERY_SERVICE, (m.Heartbeat,),                        10,  2,     64 * _KIB,   "program")
# fmt: on

LINKS = {link.name: link for link in (AUDIO, REPLAY, JOBS, WORKERS, RESULTS, COMMITS, TRANSCRIPT, HISTORY, HEARTBEAT)}


def addresses_of(settings: Settings) -> dict[str, str]:
    """The configured addresses, by the link's full name. Raises SettingsError."""
    pairs = [item.partition("=") for item in settings.addresses]
    for name, equals, address in pairs:
        if not equals or not address.startswith(("ipc://", "tcp://")):
            raise SettingsError(f"addresses: {name!r} is not LINK=ipc://PATH or LINK=tcp://HOST:PORT")
        if name.partition("-")[0] not in LINKS:
            raise SettingsError(f"addresses: there is no link {name}{nearest(name, LINKS)}")
    return {name: address for name, _, address in pairs}


_TOPICS = {
    m.AudioFrame: "audio",
    m.AudioHead: "head",
    m.Final: "transcript.final",
    m.Failed: "transcript.failed",
    m.Gap: "transcript.gap",
    m.Interim: "transcript.interim",
    m.SpeechStarted: "speech.started",
    m.SpeechStopped: "speech.stopped",
    m.Status: "status",
}


def topic_of(message: object) -> str:
    """The PUB/SUB topic of a message: `transcript.final/kitchen`; the bare type for messages without a source."""
    if kind := _TOPICS.get(type(message)):
        return f"{kind}/{message.source}"  # type: ignore[attr-defined]
    return type_name(type(message))
