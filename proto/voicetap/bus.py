"""Sockets of one process, with the options that every socket needs.

Each option answers a measured fault: the default LINGER hangs on exit; without ZAP_DOMAIN any HTTP client can speak
ZMTP/1.0 to a NULL socket, ipc included; without HANDSHAKE_IVL idle connections use up descriptors. A reconnect on ipc
costs microseconds, so it is tried every 20 ms without back-off.
"""

import logging
import math
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import zmq

from . import runtime_dir
from .codec import ProtocolError, decode, encode
from .curve import ZAP_DOMAIN, Curve, stays_on_this_machine
from .diagnosis import handshake_problem, socket_file_problem
from .errors import AddressInUse, SettingsError
from .links import EVERY_SERVICE, Link, Pattern, addresses_of, topic_of
from .service.failpoint import failpoint
from .service.locks import is_same_file
from .settings import Settings

LINGER_MS = 250  # how long a closed socket may still send
RECONNECT_MS = 20
HANDSHAKE_MS = 2000
MAX_MESSAGES_PER_TURN = 200  # of one receiver, so that a flood cannot starve the heartbeat
_WARN_PERIOD_S = 60.0
_NOBLOCK, _SNDMORE, _READABLE = int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.POLLIN)  # enums are slow to combine

log = logging.getLogger("bus")


class Sender:
    """The sending end of a link. Never blocks: what cannot be sent is counted in `drops`."""

    def __init__(self, socket: zmq.Socket[bytes], link: Link):
        self._socket = socket
        self._link = link
        self.drops = 0

    def send(self, message: object, topic: str | None = None) -> bool:
        """Returns False when the queue is full and the message was dropped."""
        data = encode(message)
        try:
            if self._link.pattern is Pattern.PUB_SUB:
                self._socket.send((topic or topic_of(message)).encode(), _NOBLOCK | _SNDMORE)
            self._socket.send(data, _NOBLOCK)
        except zmq.Again:
            self.drops += 1
            return False
        return True

    def has_subscribers(self, kind: str) -> bool:
        """Whether topics that begin with `kind` may be subscribed: always, on a link that tracks no subscribers."""
        return True


class SubscriptionSender(Sender):
    """A publisher that tracks the subscriptions of its readers (XPUB)."""

    def __init__(self, socket: zmq.Socket[bytes], link: Link):
        super().__init__(socket, link)
        self._topics: set[bytes] = set()

    def has_subscribers(self, kind: str) -> bool:
        """Whether any subscription received so far covers topics that begin with `kind`."""
        for parts in _received(self._socket):
            self._on_subscription(parts[0])  # a foreign client may send more parts
        wanted = kind.encode()
        return any(topic.startswith(wanted) or wanted.startswith(topic) for topic in self._topics)

    def _on_subscription(self, event: bytes) -> None:
        """ZeroMQ reports the first subscription to a topic and the end of the last, also when a reader dies."""
        if event[:1] == b"\1":
            self._topics.add(event[1:])
        elif event[:1] == b"\0":
            self._topics.discard(event[1:])


class Receiver:
    """The receiving end of a link. Rejects and counts messages that do not belong on it; logs one a minute."""

    def __init__(self, socket: zmq.Socket[bytes], link: Link):
        self.socket = socket
        self._link = link
        self._parts = 2 if link.pattern is Pattern.PUB_SUB else 1
        self._warn_after_s = 0.0
        self.rejected = 0
        self.known_empty = False  # as of the last `wait`: saves asking the socket

    def __iter__(self) -> Iterator[object]:
        """The messages received so far, at most MAX_MESSAGES_PER_TURN; never blocks."""
        if self.known_empty:
            self.known_empty = False
            return
        for parts in _received(self.socket):
            try:
                yield self._message(parts)
            except ProtocolError as error:
                self._reject(error)

    def _message(self, parts: list[bytes]) -> object:
        if len(parts) != self._parts:
            raise ProtocolError(f"{len(parts)} parts, not {self._parts}")
        message = decode(parts[-1], self._link.max_bytes)
        if type(message) not in self._link.carries:
            raise ProtocolError(f"{type(message).__name__} does not belong here")
        return message

    def _reject(self, error: ProtocolError) -> None:
        self.rejected += 1
        if time.monotonic() >= self._warn_after_s:
            self._warn_after_s = time.monotonic() + _WARN_PERIOD_S
            log.warning("%s: rejected a message: %s (%d so far)", self._link.full_name, error, self.rejected)


class Bus:
    """A context and its sockets, closed in reverse order by `with`. Belongs to one thread."""

    def __init__(self, service: str, settings: Settings):
        self._service = service
        self._runtime_dir = settings.runtime_dir
        self._tap_group = settings.tap_group
        self._addresses = addresses_of(settings)
        self._curve = Curve(settings.curve_dir) if settings.curve_dir else None
        self._poller = zmq.Poller()
        self._fd_poller = select.poll()
        self._receivers: list[Receiver] = []
        self._sockets: list[zmq.Socket[bytes]] = []
        self._socket_files: dict[Path, int] = {}  # and their inodes

    def __enter__(self) -> "Bus":
        with ExitStack() as stack:
            self._context = stack.enter_context(zmq.Context())
            self._context.linger = LINGER_MS
            self._context.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
            self._context.setsockopt(zmq.RECONNECT_IVL_MAX, 0)
            self._context.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            self._context.setsockopt(zmq.IPV6, 1)  # without it tcp://[::1] cannot be bound; IPv4 works with it too
            self._context.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())
            if self._curve:
                stack.enter_context(self._curve.authenticator(self._context))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        for path, inode in self._socket_files.items():  # while the service still holds its lock, and before they close
            if is_same_file(path, inode):
                path.unlink(missing_ok=True)
        failpoint(f"{self._service}.unlinked")
        for socket in reversed(self._sockets):
            socket.close()
        self._stack.close()

    def sender(self, link: Link) -> Sender:
        """A SubscriptionSender where the link tracks subscribers; then `wait` also returns on a subscription."""
        if not link.tracks_subscribers:
            return Sender(self._open(link, zmq.PUB if link.pattern is Pattern.PUB_SUB else zmq.PUSH), link)
        socket = self._open(link, zmq.XPUB)
        self._poller.register(socket, zmq.POLLIN)
        return SubscriptionSender(socket, link)

    def receiver(self, link: Link, topics: tuple[str, ...] = ("",)) -> Receiver:
        """Topics are prefixes: `transcript.final/` is the finals of all sources."""
        socket = self._open(link, zmq.SUB if link.pattern is Pattern.PUB_SUB else zmq.PULL)
        if link.pattern is Pattern.PUB_SUB:
            for topic in topics:
                socket.subscribe(topic)
        self._poller.register(socket, zmq.POLLIN)
        self._receivers.append(receiver := Receiver(socket, link))
        return receiver

    def removed_socket_file(self) -> Path | None:
        """A bound socket file that was removed, if any: no new peer can connect to it."""
        return next((path for path, inode in self._socket_files.items() if not is_same_file(path, inode)), None)

    def watch(self, fd: int) -> None:
        """Makes `wait` return when `fd` is readable."""
        self._poller.register(fd, zmq.POLLIN)
        self._fd_poller.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        for poller in (self._poller, self._fd_poller):
            poller.unregister(fd)

    def wait(self, timeout_s: float) -> set[int]:
        """Waits until a receiver or a watched descriptor is readable. Returns the readable descriptors."""
        ready = dict(self._poller.poll(_milliseconds(timeout_s)))
        for receiver in self._receivers:
            receiver.known_empty = receiver.socket not in ready
        return {item for item in ready if isinstance(item, int)}

    def sleep(self, timeout_s: float) -> set[int]:
        """As `wait`, but messages do not end it: they queue up, as a batch costs little more than one message."""
        for receiver in self._receivers:
            receiver.known_empty = False
        return {fd for fd, _ in self._fd_poller.poll(_milliseconds(timeout_s))}

    def close(self, end: Sender | Receiver) -> None:
        """Closes one socket early and drops what it still holds, because its peer is a new process."""
        socket = end._socket if isinstance(end, Sender) else end.socket
        if socket in self._poller:
            self._poller.unregister(socket)
        if isinstance(end, Receiver):
            self._receivers.remove(end)
        self._sockets.remove(socket)
        socket.close(linger=0)

    def diagnose(self, link: Link) -> str:
        """What keeps this process from the link that another one binds; empty when nothing does. Takes up to 1 s."""
        address = link.address(self._runtime_dir, self._addresses)
        if address.startswith("ipc://"):
            return "" if address.startswith("ipc://@") else socket_file_problem(Path(address.removeprefix("ipc://")))
        with self._context.socket(zmq.SUB if link.pattern is Pattern.PUB_SUB else zmq.PUSH) as socket:
            self._secure(socket, link, address, binds=False)
            return handshake_problem(socket, address)

    def _open(self, link: Link, kind: int) -> zmq.Socket[bytes]:
        address = link.address(self._runtime_dir, self._addresses)
        self._sockets.append(socket := self._context.socket(kind))
        socket.sndhwm = socket.rcvhwm = link.depth
        socket.maxmsgsize = link.max_bytes
        binds = link.bound_by == self._service or (link.bound_by == EVERY_SERVICE and kind == zmq.PUB)
        if address.startswith("tcp://"):
            self._secure(socket, link, address, binds)
        if binds:
            self._bind(socket, link, address)
        else:
            socket.connect(address)
        return socket

    def _bind(self, socket: zmq.Socket[bytes], link: Link, address: str) -> None:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            kind = AddressInUse if error.errno == zmq.EADDRINUSE else SettingsError
            raise kind(f"{link.full_name} cannot be bound to {address}: {zmq.strerror(error.errno or 0)}") from None
        if address.startswith("ipc://") and not address.startswith("ipc://@"):  # the abstract namespace has no files
            path = Path(address.removeprefix("ipc://"))
            self._socket_files[path] = path.stat().st_ino
            if link.for_clients and self._tap_group:
                runtime_dir.share(path, self._tap_group, 0o660)

    def _secure(self, socket: zmq.Socket[bytes], link: Link, address: str, binds: bool) -> None:
        if self._curve:
            self._curve.apply(socket, link, server=binds)
        elif not stays_on_this_machine(address):
            raise SettingsError(f"{address} leaves this machine: set curve_dir (`voicetap keys --help`)")


def _received(socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
    """Messages received so far, at most MAX_MESSAGES_PER_TURN; never blocks."""
    for _ in range(MAX_MESSAGES_PER_TURN):
        if not int(socket.getsockopt(zmq.EVENTS)) & _READABLE:  # costs a third of what zmq.Again does
            return
        yield socket.recv_multipart(_NOBLOCK)


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))  # rounded down, the loop would spin in the last millisecond
