"""sd_notify: one datagram to systemd, or nothing where there is none."""

import contextlib
import os
import socket


def send(state: str) -> None:
    """`READY=1`, `WATCHDOG=1`. A systemd that is not there or does not listen is no error of ours."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel,
    ):
        channel.connect(address)
        channel.send(state.encode())
