"""The outbox on the bus: what it wants done is done here, noted in the cut lists and sent."""

import logging

from voicetap import links
from voicetap.bus import Sender
from voicetap.messages import SpeechStarted, SpeechStopped, Status
from voicetap.service.failpoint import failpoint
from voicetap.service.node import Node

from .cutlist import CutList
from .effects import Attempt, Connect, Send, Tell
from .outbox import Event, Outbox

log = logging.getLogger("vad")


class Delivery:
    """To the workers and to journal."""

    def __init__(self, node: Node, outbox: Outbox, cuts: dict[str, CutList]):
        self.outbox = outbox
        self._node = node
        self._cuts = cuts
        self._results = node.sender(links.RESULTS)
        self._jobs: dict[str, Sender] = {}

    def tell(self, message: SpeechStarted | SpeechStopped | Status) -> None:
        """What is not owed to anybody."""
        self._results.send(message)

    def step(self, event: Event, now_s: float) -> None:
        for effect in self.outbox.step(event, now_s):
            match effect:
                case Connect(worker):
                    self._connect_to(worker)
                case Send(worker, job):
                    failpoint("vad.job.given")
                    self._jobs[worker].send(job)
                    failpoint("vad.job.sent")
                case Tell(entry):
                    self._results.send(entry)
                case Attempt(id_, attempt):
                    log.warning("%s: its worker was lost, attempt %d", id_, attempt)
                    self._cuts[id_.source].set_attempt(id_.stream, id_.number, attempt)
                    self._cuts[id_.source].commit()

    def _connect_to(self, worker: str) -> None:
        if worker in self._jobs:
            self._node.close(self._jobs.pop(worker))
        self._jobs[worker] = self._node.sender(links.JOBS.of(worker))
