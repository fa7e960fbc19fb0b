"""A foreign client that writes to every socket of a bundle: bytes, old protocols, messages of other links."""

import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import zmq

from voicetap.codec import encode
from voicetap.messages import AudioProgress, HistoryRequest, JournalHead

BYTES = (
    b"GET / HTTP/1.1\r\nHost: voicetap\r\n\r\n",
    b"\x01\x00\x06\x00HELLO",  # ZMTP 1.0, which a socket without a ZAP domain would accept
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03",  # an incomplete greeting
    bytes(range(256)) * 64,
)
MESSAGES = (
    [b""],
    [b"\xc1" * 100],
    [b"two", b"parts"],
    [encode(JournalHead(journal_id="no", first_seq=1, next_seq=10**9))],
    [encode(AudioProgress(source="file", stream="none", needed_seq=2**60))],
    [b"\x81\xa4type\xa5final"],
)
SETTLE_S = 0.1


def intrude(runtime_dir: Path) -> None:
    """Writes once to every socket in the runtime directory."""
    paths = [path for path in runtime_dir.iterdir() if path.is_socket()]
    for path in paths:
        for data in BYTES:
            _send_bytes(path, data)
    with zmq.Context() as context, ExitStack() as stack:
        for path in paths:
            if not path.name.startswith("supervisor"):
                _push(stack.enter_context(context.socket(zmq.PUSH)), path, MESSAGES)
        time.sleep(SETTLE_S)


def request_history(runtime_dir: Path) -> None:
    """Requests journal's history without waiting for the answer."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as pusher:
        _push(pusher, runtime_dir / "history", [[encode(HistoryRequest(requester="nobody", since=1, limit=10))]])
        time.sleep(SETTLE_S)


def _send_bytes(path: Path, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.settimeout(SETTLE_S)
        client.connect(str(path))
        client.sendall(data)


def _push(pusher: zmq.Socket, path: Path, messages: Iterable[list[bytes]]) -> None:
    pusher.linger = 0
    pusher.connect(f"ipc://{path}")
    for parts in messages:
        with suppress(zmq.Again):
            pusher.send_multipart(parts, zmq.NOBLOCK)
