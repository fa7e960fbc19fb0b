"""What the outbox wants done."""

from dataclasses import dataclass

from voicetap.codec import UtteranceId
from voicetap.messages import Failed, Final, Gap, Job

Entry = Final | Failed | Gap


@dataclass(frozen=True)
class Connect:
    """`worker` is a new process: a new socket, without what the old one still held."""

    worker: str


@dataclass(frozen=True)
class Send:
    worker: str
    job: Job


@dataclass(frozen=True)
class Tell:
    """To journal."""

    entry: Entry


@dataclass(frozen=True)
class Attempt:
    """To be remembered across restarts."""

    utterance_id: UtteranceId
    attempt: int


Effect = Connect | Send | Tell | Attempt
