"""The sockets of the simulated world. They guarantee no more than ZeroMQ guarantees.

Within one connection messages stay in order. Connections differ in latency; they break and lose what was in transit;
publishers drop messages for a reader whose queue is full; what a killed process had received but not read is lost.
Unlike ZeroMQ, this may also lose and repeat any message, because the services are designed to tolerate that.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicetap.bus import MAX_MESSAGES_PER_TURN
from voicetap.codec import ProtocolError, decode, encode
from voicetap.links import EVERY_SERVICE, Link, Pattern, topic_of
from voicetap.messages import AudioFrame, AudioHead, Heartbeat

from .timeline import Timeline

if TYPE_CHECKING:
    from .process import Process

_NOT_ENCODED = (AudioFrame, AudioHead, Heartbeat)  # for speed: these are the most frequent


@dataclass
class Conditions:
    """How bad the network is. Probabilities are per message."""

    latency_s: float = 0.0005
    late: float = 0.0  # probability to be late, and with it all that follows on the connection
    late_s: float = 0.3
    lost: float = 0.0
    repeated: float = 0.0
    connect_s: float = 0.05
    depth: float = 1.0  # factor on the queue depths in the links table

    @property
    def is_good(self) -> bool:
        return self == Conditions(self.latency_s, connect_s=self.connect_s)


@dataclass
class Endpoint:
    """The sockets of one link: the one that binds it, and those that connect."""

    bound: "Sender | Receiver | None" = None
    connected: list["Sender | Receiver"] = field(default_factory=list)


class Network:
    """Opens links by their full names."""

    def __init__(self, timeline: Timeline, dice: random.Random):
        self.timeline = timeline
        self.dice = dice
        self.conditions = Conditions()
        self._endpoints: dict[str, Endpoint] = {}
        self.count = itertools.count()

    def open(self, end: "Sender | Receiver") -> None:
        endpoint = self._endpoints.setdefault(end.link.full_name, Endpoint())
        is_sender = isinstance(end, Sender)
        if end.link.bound_by == end.process.service or (end.link.bound_by == EVERY_SERVICE and is_sender):
            endpoint.bound = end
            others = endpoint.connected
        else:
            endpoint.connected.append(end)
            others = [endpoint.bound] if endpoint.bound else []
        for other in others:
            self._join(*((end, other) if is_sender else (other, end)))

    def close(self, end: "Sender | Receiver", orderly: bool = False) -> None:
        """If `orderly`, messages in transit still arrive."""
        endpoint = self._endpoints[end.link.full_name]
        if endpoint.bound is end:
            endpoint.bound = None
        else:
            endpoint.connected = [other for other in endpoint.connected if other is not end]
        for connection in list(end.connections):
            connection.close(orderly)

    @property
    def alive(self) -> list["Connection"]:
        return [connection for each in self._endpoints.values() if each.bound for connection in each.bound.connections]

    def is_calm(self) -> bool:
        """Whether no message or connection is delayed."""
        soon_s = self.timeline.now_s + self.conditions.latency_s * 2
        return all(connection.last_s <= soon_s and connection.open_s <= soon_s for connection in self.alive)

    def break_one(self) -> None:
        """Breaks a random connection, which reconnects."""
        if alive := self.alive:
            broken = self.dice.choice(alive)
            broken.close()
            self._join(broken.sender, broken.receiver)

    def stall_one(self, seconds: float) -> None:
        """Delays everything on a random connection."""
        if alive := self.alive:
            stalled = self.dice.choice(alive)
            stalled.last_s = max(stalled.last_s, self.timeline.now_s + seconds)  # a shorter stall reorders nothing

    def _join(self, sender: "Sender", receiver: "Receiver") -> None:
        connection = Connection(self, sender, receiver)
        connection.open_s = self.timeline.now_s + self.dice.random() * self.conditions.connect_s
        connection.last_s = receiver.last_arrival_s.get(sender, 0.0)  # the old connection is read first
        sender.connections.append(connection)
        receiver.connections.append(connection)
        self.timeline.at(connection.open_s, connection.refill)


class Connection:
    """One direction, from a Sender to a Receiver."""

    def __init__(self, network: Network, sender: "Sender", receiver: "Receiver"):
        self._network = network
        self.sender = sender
        self.receiver = receiver
        self.open_s = 0.0
        self.last_s = 0.0  # when the last message arrives
        self.unread = 0  # messages sent and not yet read
        depth = sender.link.depth * (2 if sender.link.pattern is Pattern.PUB_SUB else 1)
        self._capacity = max(1, int(depth * network.conditions.depth))

    def has_room(self) -> bool:
        return self._network.timeline.now_s >= self.open_s and self.unread < self._capacity

    def transmit(self, item: object) -> None:
        now_s, dice, conditions = self._network.timeline.now_s, self._network.dice, self._network.conditions
        chance = dice.random()
        if chance < conditions.lost:
            return
        delay_s = conditions.latency_s * (1 + dice.random())
        if chance > 1 - conditions.late:
            delay_s += dice.random() * conditions.late_s
        self._arrive(item, max(self.last_s, now_s + delay_s))
        if chance > 1 - conditions.late - conditions.repeated:
            self._arrive(item, max(self.last_s, now_s + dice.random() * conditions.late_s))

    def refill(self) -> None:
        """Transmits what waits at the sender, as far as there is room."""
        while self.sender.waiting and self in self.sender.connections and self.has_room():
            self.transmit(self.sender.waiting.popleft())

    def on_read(self) -> None:
        self.unread -= 1
        if self.sender.waiting:
            self.refill()

    def close(self, orderly: bool = False) -> None:
        """It broke or a process exited. Unless `orderly`, what has not arrived is lost, or the last part of it."""
        if self in self.sender.connections:
            self.sender.connections.remove(self)
            self.receiver.connections.remove(self)
            self.receiver.last_arrival_s[self.sender] = self.last_s
            if not orderly:
                self.receiver.drop(self, self._network.timeline.now_s + self._network.dice.random() * 0.01)

    def _arrive(self, item: object, when_s: float) -> None:
        self.last_s = when_s
        self.unread += 1
        heapq.heappush(self.receiver.arriving, (when_s, next(self._network.count), self, item))
        self.receiver.process.wake(when_s)


class Sender:
    """Replaces voicetap.bus.Sender."""

    def __init__(self, network: Network, process: "Process", link: Link):
        self.link = link
        self.process = process
        self.connections: list[Connection] = []
        self.waiting: deque[object] = deque()  # of a PUSH without a connection, or with a full one
        self.drops = 0
        self._limit = max(1, int(link.depth * network.conditions.depth))

    def send(self, message: object, topic: str | None = None) -> bool:
        self.process.step()
        item = message if isinstance(message, _NOT_ENCODED) else encode(message)
        if self.process.world.tracing:
            self.process.trace(f"-> {self.link.full_name}: {message}")
        self.process.world.witness.on_sent(self, message)
        if self.link.pattern is Pattern.PUB_SUB:
            sent = self._publish(item, topic or topic_of(message))
        else:
            sent = self._push(item)
        self.process.step()
        return sent

    def has_subscribers(self, kind: str) -> bool:
        topics = (topic for connection in self.connections for topic in connection.receiver.topics)
        return any(topic.startswith(kind) or kind.startswith(topic) for topic in topics)

    def _publish(self, item: object, topic: str) -> bool:
        for connection in self.connections:
            if topic.startswith(connection.receiver.topics):
                if connection.has_room():
                    connection.transmit(item)
                else:
                    self.process.world.witness.count("dropped at a high-water mark", connection.unread > 0)
        return True

    def _push(self, item: object) -> bool:
        if self.connections and not self.waiting and self.connections[0].has_room():
            self.connections[0].transmit(item)
        elif len(self.waiting) < self._limit:
            self.waiting.append(item)
        else:
            self.drops += 1
            return False
        return True


class Receiver:
    """Replaces voicetap.bus.Receiver."""

    def __init__(self, process: "Process", link: Link, topics: tuple[str, ...]):
        self.link = link
        self.process = process
        self.topics = topics
        self.connections: list[Connection] = []
        self.arriving: list[tuple[float, int, Connection, object]] = []
        self.last_arrival_s: dict[Sender, float] = {}  # over all connections from that sender
        self.rejected = 0

    def __iter__(self) -> Iterator[object]:
        timeline = self.process.world.timeline
        for _ in range(MAX_MESSAGES_PER_TURN):
            if not self.arriving or self.arriving[0][0] > timeline.now_s:
                return
            _, _, connection, item = heapq.heappop(self.arriving)
            connection.on_read()
            self.process.step()
            try:
                yield self._message(item)
            except ProtocolError as error:
                self.rejected += 1
                self.process.world.witness.add_violation(f"{self.process.name} rejected a message: {error}")

    def drop(self, connection: Connection, from_s: float) -> None:
        """Drops what would arrive from `from_s` on."""
        self.arriving = [each for each in self.arriving if each[2] is not connection or each[0] < from_s]
        heapq.heapify(self.arriving)

    def _message(self, item: object) -> object:
        message = decode(item, self.link.max_bytes) if isinstance(item, bytes) else item
        if type(message) not in self.link.carries:
            raise ProtocolError(f"{type(message).__name__} does not belong on {self.link.full_name}")
        return message
