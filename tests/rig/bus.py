"""What a bus receives, and links on free tcp ports."""

import dataclasses
import socket

from rig.processes import eventually
from voicetap.bus import Receiver


def receive(receiver: Receiver, count: int, within_s: float = 5.0) -> list:
    received: list = []

    def enough() -> bool:
        received.extend(receiver)
        return len(received) >= count

    eventually(enough, within_s, f"{count} messages")
    return received


def on_tcp(settings, *names: str, host: str = "127.0.0.1", **changes: object):
    """These links on free ports."""
    addresses = []
    for name in names:
        with socket.create_server(("127.0.0.1", 0)) as free:
            addresses.append(f"{name}=tcp://{host}:{free.getsockname()[1]}")
    return dataclasses.replace(settings, addresses=tuple(addresses), **changes)
