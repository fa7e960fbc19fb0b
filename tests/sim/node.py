"""Replaces voicetap.service.node.Node in the simulation."""

from typing import TYPE_CHECKING

from voicetap import links
from voicetap.links import Link
from voicetap.messages import Heartbeat, SourceState
from voicetap.service.node import HEARTBEAT_PERIOD_S
from voicetap.settings import Settings

from .network import Receiver, Sender

if TYPE_CHECKING:
    from .process import Process


class Node:
    """The node of one process."""

    def __init__(self, process: "Process", settings: Settings):
        self.service = process.service
        self.name = process.name
        self.settings = settings
        self.boot_id = f"{process.pid:x}"
        self.state = "starting"
        self.detail = ""
        self.queue_depth = 0
        self.deadline_ns = 0
        self.drops = 0
        self.sources: tuple[SourceState, ...] = ()
        self.stopping = False
        self.next_beat_s = 0.0
        self._process = process
        self._heartbeats: Sender | None = None
        self._beat_count = 0

    def sender(self, link: Link) -> Sender:
        return self._open(Sender(self._process.world.network, self._process, link))

    def receiver(self, link: Link, topics: tuple[str, ...] = ("",)) -> Receiver:
        return self._open(Receiver(self._process, link, topics))

    def close(self, end: Sender | Receiver) -> None:
        self._process.ends.remove(end)
        self._process.world.network.close(end)

    def watch(self, fd: int) -> None:
        """Nothing to do: the simulated decoder wakes its process."""

    def wait(self, timeout_s: float) -> set[int]:
        self._process.wait(timeout_s)
        return set()

    def sleep(self, timeout_s: float) -> set[int]:
        self._process.pause(timeout_s)
        return set()

    def alive(self) -> bool:
        self.beat()
        return not self.stopping

    def beat(self) -> None:
        now_s = self._process.world.timeline.now_s
        if now_s >= self.next_beat_s:
            self.next_beat_s = now_s + HEARTBEAT_PERIOD_S
            self._beat_count += 1
            if not self._heartbeats:
                self._heartbeats = self.sender(links.HEARTBEAT.of(self.name))
            self._heartbeats.send(self._heartbeat())

    def beat_now(self) -> None:
        self.next_beat_s = 0.0
        self.beat()

    def _open(self, end: Sender | Receiver) -> Sender | Receiver:
        self._process.ends.append(end)
        self._process.world.network.open(end)
        return end

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            service=self.service,
            name=self.name,
            pid=self._process.pid,
            boot_id=self.boot_id,
            seq=self._beat_count,
            state="draining" if self.stopping else self.state,
            detail=self.detail,
            deadline_ns=self.deadline_ns,
            sources=self.sources,
        )
