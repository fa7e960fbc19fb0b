"""CURVE for links that leave the machine: one key pair per bundle; every other key is rejected.

Two traps of pyzmq, both shown to fail open: without a running authenticator any client key is accepted
(hence ZAP_ENFORCE_DOMAIN), and `configure_curve(domain="*")` does not match a domain that is set.
"""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
import zmq.auth

from .errors import SettingsError

ZAP_DOMAIN = "voicetap"
_NAME = "bundle"


def make_keys(directory: Path) -> Path:
    """Writes `bundle.key` and `bundle.key_secret`, private to this user; returns the secret one's path.

    Raises FileExistsError rather than replace keys in use.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (directory / f"{_NAME}.key_secret").exists():
        raise FileExistsError(f"{directory} has keys already")
    _, secret = zmq.auth.create_certificates(directory, _NAME)
    os.chmod(secret, 0o600)  # pyzmq leaves it readable by all under the usual umask
    return Path(secret)


def stays_on_this_machine(address: str) -> bool:
    """Whether a tcp address is on the loopback interface. A host name other than localhost counts as remote."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Curve:
    """The key pair in `directory`. Raises SettingsError when it is not there."""

    def __init__(self, directory: str):
        self._directory = directory
        try:
            self._public, self._secret = zmq.auth.load_certificate(f"{directory}/{_NAME}.key_secret")
        except (OSError, ValueError) as error:
            raise SettingsError(f"curve_dir {directory}: {error} (`voicetap keys DIR` makes the keys)") from None

    @contextmanager
    def authenticator(self, context: "zmq.Context[zmq.Socket[bytes]]") -> Iterator[None]:
        """Accepts our own key and, on links without CURVE, every process that may open the socket file."""
        from zmq.auth.thread import (
            ThreadAuthenticator,  # imports asyncio: would cost 20 ms of every start without CURVE
        )

        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        try:
            authenticator.configure_curve(domain=ZAP_DOMAIN, location=self._directory)
            yield
        finally:
            authenticator.stop()

    def apply(self, socket: "zmq.Socket[bytes]", server: bool) -> None:
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
        if server:
            socket.curve_server = True
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        else:
            socket.curve_serverkey = self._public
