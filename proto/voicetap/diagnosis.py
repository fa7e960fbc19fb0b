"""Why nothing answers on a link: for the error message of a tap that timed out."""

import os
import time
from pathlib import Path

import zmq

PROBE_S = 1.0
_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


def socket_file_problem(path: Path) -> str:
    """What keeps this user from the socket file; empty when nothing does."""
    for place in (*reversed(path.parents), path):
        needed = os.W_OK if place == path else os.X_OK
        try:
            status = place.stat()
        except FileNotFoundError:
            return f"{place} does not exist: is the bundle running, and with the same runtime_dir?"
        except PermissionError:
            return f"permission denied: {place}"
        if not os.access(place, needed):
            return f"permission denied: {place}, owned by uid {status.st_uid} and gid {status.st_gid}"
    return ""


def handshake_problem(socket: "zmq.Socket[bytes]", address: str) -> str:
    """What keeps `socket`, which has its keys and is not connected yet, from the address; empty when nothing does."""
    monitor = socket.get_monitor_socket(_EVENTS | _FAILURES)
    try:
        socket.connect(address)
        seen = _events(monitor)
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)
    if zmq.EVENT_HANDSHAKE_SUCCEEDED in seen:
        return ""
    if zmq.EVENT_CONNECTED not in seen:
        return f"nothing answers at {address}"
    return f"{address} refuses this connection: its CURVE key is wrong, not allowed, or missing (curve_dir)"


def _events(monitor: "zmq.Socket[bytes]") -> set[int]:
    """What happens until the handshake ends, or PROBE_S are over. A refusal may also be a silent disconnection."""
    from zmq.utils.monitor import parse_monitor_message  # imports asyncio: 26 ms of the start of every program

    seen: set[int] = set()
    deadline_s = time.monotonic() + PROBE_S
    while (left_s := deadline_s - time.monotonic()) > 0 and monitor.poll(int(left_s * 1000) + 1):
        seen.add(int(parse_monitor_message(monitor.recv_multipart())["event"]))
        if any(event == zmq.EVENT_HANDSHAKE_SUCCEEDED or event & _FAILURES for event in seen):
            break
    return seen
