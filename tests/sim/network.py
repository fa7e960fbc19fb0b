"""The sockets of the simulated world. What ZeroMQ does not promise, this does not do.

Within one connection order is kept. Connections differ in how late they are; they break and lose what was on its way;
publishers drop for a reader whose queue is full; what a killed process had received and not read is gone. And,
although ZeroMQ does not, it may lose and repeat any message: the services say that they can bear that.
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

_AS_THEY_ARE = (AudioFrame, AudioHead, Heartbeat)  # too many to be packed; the others are


@dataclass
class Conditions:
    """How bad the network is. Chances are per message."""

    latency_s: float = 0.0005
    late: float = 0.0  # chance to be late, and with it all that follows on the connection
    late_s: float = 0.3
    lost: float = 0.0
    repeated: float = 0.0
    connect_s: float = 0.05
    depth: float = 1.0  # of all queues, as a share of what the table says

    @property
    def is_good(self) -> bool:
        return self == Conditions(self.latency_s, connect_s=self.connect_s)


@dataclass
class Meeting:
    """Who has opened a link: the one who binds it, and those who connect."""

    bound: "Sender | Receiver | None" = None
    connected: list["Sender | Receiver"] = field(default_factory=list)


class Network:
    """Opens links by their full names."""

    def __init__(self, timeline: Timeline, dice: random.Random):
        self.timeline = timeline
        self.dice = dice
        self.conditions = Conditions()
        self._meetings: dict[str, Meeting] = {}
        self.count = itertools.count()

    def open(self, end: "Sender | Receiver") -> None:
        meeting = self._meetings.setdefault(end.link.full_name, Meeting())
        is_sender = isinstance(end, Sender)
        if end.link.bound_by == end.process.service or (end.link.bound_by == EVERY_SERVICE and is_sender):
            meeting.bound = end
            others = meeting.connected
        else:
            meeting.connected.append(end)
            others = [meeting.bound] if meeting.bound else []
        for other in others:
            self._join(*((end, other) if is_sender else (other, end)))

    def close(self, end: "Sender | Receiver", orderly: bool = False) -> None:
        """Orderly: what was sent still arrives."""
        meeting = self._meetings[end.link.full_name]
        if meeting.bound is end:
            meeting.bound = None
        else:
            meeting.connected = [other for other in meeting.connected if other is not end]
        for connection in list(end.connections):
            connection.end(orderly)

    @property
    def alive(self) -> list["Connection"]:
        return [connection for each in self._meetings.values() if each.bound for connection in each.bound.connections]

    def is_calm(self) -> bool:
        """Nothing is late."""
        soon_s = self.timeline.now_s + self.conditions.latency_s * 2
        return all(connection.last_s <= soon_s and connection.open_s <= soon_s for connection in self.alive)

    def break_one(self) -> None:
        """Some connection breaks, and is made again."""
        if alive := self.alive:
            broken = self.dice.choice(alive)
            broken.end()
            self._join(broken.sender, broken.receiver)

    def stall_one(self, seconds: float) -> None:
        """Some connection delivers nothing for a while."""
        if alive := self.alive:
            self.dice.choice(alive).last_s = self.timeline.now_s + seconds

    def _join(self, sender: "Sender", receiver: "Receiver") -> None:
        connection = Connection(self, sender, receiver)
        connection.open_s = self.timeline.now_s + self.dice.random() * self.conditions.connect_s
        connection.last_s = receiver.heard_to_s.get(sender, 0.0)  # a socket's old connection is read first
        sender.connections.append(connection)
        receiver.connections.append(connection)
        self.timeline.at(connection.open_s, connection.refill)


class Connection:
    """One way, from one end to another."""

    def __init__(self, network: Network, sender: "Sender", receiver: "Receiver"):
        self._network = network
        self.sender = sender
        self.receiver = receiver
        self.open_s = 0.0
        self.last_s = 0.0  # when the last message arrives
        self.held = 0  # messages sent and not yet read
        depth = sender.link.depth * (2 if sender.link.pattern is Pattern.PUB_SUB else 1)
        self._capacity = max(1, int(depth * network.conditions.depth))

    def has_room(self) -> bool:
        return self._network.timeline.now_s >= self.open_s and self.held < self._capacity

    def carry(self, item: object) -> None:
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
        """There is room again for what waits at the sender."""
        while self.sender.waiting and self in self.sender.connections and self.has_room():
            self.carry(self.sender.waiting.popleft())

    def read_one(self) -> None:
        self.held -= 1
        if self.sender.waiting:
            self.refill()

    def end(self, orderly: bool = False) -> None:
        """Broken, or one of its processes is gone: what has not arrived is lost, or the last part of it."""
        if self in self.sender.connections:
            self.sender.connections.remove(self)
            self.receiver.connections.remove(self)
            self.receiver.heard_to_s[self.sender] = self.last_s
            if not orderly:
                self.receiver.lose(self, self._network.timeline.now_s + self._network.dice.random() * 0.01)

    def _arrive(self, item: object, when_s: float) -> None:
        self.last_s = when_s
        self.held += 1
        heapq.heappush(self.receiver.arriving, (when_s, next(self._network.count), self, item))
        self.receiver.process.wake(when_s)


class Sender:
    """As voicetap.bus.Sender."""

    def __init__(self, network: Network, process: "Process", link: Link):
        self.link = link
        self.process = process
        self.connections: list[Connection] = []
        self.waiting: deque[object] = deque()  # of a PUSH that has no connection, or one that is full
        self.drops = 0
        self._limit = max(1, int(link.depth * network.conditions.depth))

    def send(self, message: object, topic: str | None = None) -> bool:
        self.process.step()
        item = message if isinstance(message, _AS_THEY_ARE) else encode(message)
        if self.process.world.tracing:
            self.process.note(f"-> {self.link.full_name}: {message}")
        self.process.world.witness.sent(self, message)
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
                    connection.carry(item)
                else:
                    self.process.world.witness.count("dropped at a high-water mark", connection.held > 0)
        return True

    def _push(self, item: object) -> bool:
        if self.connections and not self.waiting and self.connections[0].has_room():
            self.connections[0].carry(item)
        elif len(self.waiting) < self._limit:
            self.waiting.append(item)
        else:
            self.drops += 1
            return False
        return True


class Receiver:
    """As voicetap.bus.Receiver."""

    def __init__(self, process: "Process", link: Link, topics: tuple[str, ...]):
        self.link = link
        self.process = process
        self.topics = topics
        self.connections: list[Connection] = []
        self.arriving: list[tuple[float, int, Connection, object]] = []
        self.heard_to_s: dict[Sender, float] = {}  # over all of its connections
        self.rejected = 0

    def __iter__(self) -> Iterator[object]:
        timeline = self.process.world.timeline
        for _ in range(MAX_MESSAGES_PER_TURN):
            if not self.arriving or self.arriving[0][0] > timeline.now_s:
                return
            _, _, connection, item = heapq.heappop(self.arriving)
            connection.read_one()
            self.process.step()
            try:
                yield self._message(item)
            except ProtocolError as error:
                self.rejected += 1
                self.process.world.witness.violated(f"{self.process.name} rejected a message: {error}")

    def lose(self, connection: Connection, from_s: float) -> None:
        """What arrives from then on does not arrive."""
        self.arriving = [each for each in self.arriving if each[2] is not connection or each[0] < from_s]
        heapq.heapify(self.arriving)

    def _message(self, item: object) -> object:
        message = decode(item, self.link.max_bytes) if isinstance(item, bytes) else item
        if type(message) not in self.link.carries:
            raise ProtocolError(f"{type(message).__name__} does not belong on {self.link.full_name}")
        return message
