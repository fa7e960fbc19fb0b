"""CURVE for links that leave the machine: one server key, one key per client, and a directory of allowed keys.

On the bundle's machine `curve_dir` holds `server.key_secret` and the public keys of allowed clients,
`clients/NAME.key`. On a client's machine it holds `server.key`, which is public, and `client.key_secret`. No secret of
the server leaves it.

Two traps of pyzmq, both shown to fail open: without a running authenticator any client key is accepted (hence
ZAP_ENFORCE_DOMAIN), and `configure_curve(domain="*")` does not match a domain that is set.
"""

import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
import zmq.auth

from .errors import SettingsError
from .links import Link

ZAP_DOMAIN = "voicetap"
_SERVER, _CLIENT, _FORMER = "server", "client", "bundle"  # _FORMER: one pair for all, in the version before
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_server_key(directory: Path) -> None:
    """Writes `server.key` and `server.key_secret`. Raises FileExistsError rather than replace a key in use."""
    _create(directory, _SERVER)
    (directory / "clients").mkdir(mode=0o700, exist_ok=True)


def allow(directory: Path, name: str, client_dir: Path) -> None:
    """Creates a key for the client `name`, allows it, and writes what its machine needs to `client_dir`.

    Raises SettingsError for a bad name or a directory without a server key, FileExistsError for a name in use.
    """
    if not (directory / f"{_SERVER}.key").exists():
        raise SettingsError(f"{directory} has no server key (`voicetap keys init` creates it)")
    allowed = _client_file(directory, name)
    if allowed.exists():
        raise FileExistsError(f"{name} is allowed already (`voicetap keys revoke {name}` ends that)")
    _create(client_dir, _CLIENT)
    for source, target in ((client_dir / "client.key", allowed), (directory / "server.key", client_dir / "server.key")):
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.write_bytes(source.read_bytes())


def revoke(directory: Path, name: str) -> bool:
    """False when there was no such client. Its open connections end with the next restart of their services."""
    try:
        _client_file(directory, name).unlink()
    except FileNotFoundError:
        return False
    return True


def allowed_clients(directory: Path) -> list[str]:
    """The names of all allowed clients."""
    return sorted(path.stem for path in (directory / "clients").glob("*.key"))


def stays_on_this_machine(address: str) -> bool:
    """Whether a tcp address is on the loopback interface. A host name other than localhost counts as remote."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Curve:
    """The keys in `directory`. Raises SettingsError when they are missing or readable by other users."""

    def __init__(self, directory: str):
        self._directory = Path(directory)
        found = [name for name in (_SERVER, _FORMER, _CLIENT) if (self._directory / f"{name}.key_secret").exists()]
        if not found:
            raise SettingsError(f"curve_dir {directory}: there is no key (`voicetap keys init` creates one)")
        self._is_client = found[0] == _CLIENT
        self._public, self._secret = _load(self._directory / f"{found[0]}.key_secret")
        self._server_public = _load(self._directory / "server.key")[0] if self._is_client else self._public

    @contextmanager
    def authenticator(self, context: "zmq.Context[zmq.Socket[bytes]]") -> Iterator[None]:
        """Accepts allowed keys and, on links without CURVE, every process that may open the socket file."""
        from zmq.auth.thread import (
            ThreadAuthenticator,
        )  # imports asyncio: would cost 20 ms of every start without CURVE

        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        try:
            for domain, client_may in ((ZAP_DOMAIN, False), (_CLIENT_DOMAIN, True)):
                authenticator.configure_curve_callback(domain, credentials_provider=_Allowed(self, client_may))
            yield
        finally:
            authenticator.stop()

    def apply(self, socket: "zmq.Socket[bytes]", link: Link, server: bool) -> None:
        """Sets the keys of a tcp socket; a client's key opens links for clients only.

        Raises SettingsError for a server socket without the server's key.
        """
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret or b""
        if not server:
            socket.curve_serverkey = self._server_public
            return
        if self._is_client:
            raise SettingsError(
                f"curve_dir {self._directory} has a client's key only: {link.full_name} cannot be bound"
            )
        socket.curve_server = True
        socket.setsockopt(zmq.ZAP_DOMAIN, (_CLIENT_DOMAIN if link.for_clients else ZAP_DOMAIN).encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def is_allowed(self, public_key: bytes, client_may: bool) -> bool:
        """Reads the directory each time, so that a key may be allowed or revoked while the bundle runs."""
        if public_key == self._public:
            return True
        clients = (self._directory / "clients").glob("*.key") if client_may else ()
        return any(_load(path)[0] == public_key for path in clients)


_CLIENT_DOMAIN = f"{ZAP_DOMAIN}-client"


class _Allowed:
    """What pyzmq asks about a key."""

    def __init__(self, curve: Curve, client_may: bool):
        self._curve = curve
        self._client_may = client_may

    def callback(self, domain: str, key: bytes) -> bool:
        return self._curve.is_allowed(key, self._client_may)


def _create(directory: Path, name: str) -> None:
    """A pair of key files that no other user can read, not even for a moment."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (directory / f"{name}.key_secret").exists():
        raise FileExistsError(f"{directory} has a {name} key already")
    umask = os.umask(0o077)
    try:
        zmq.auth.create_certificates(directory, name)
    finally:
        os.umask(umask)


def _client_file(directory: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is not a name of letters, digits, dots, - and _")
    return directory / "clients" / f"{name}.key"


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        if path.suffix == ".key_secret" and path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by other users: chmod 600 {path}")
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"curve_dir: {path}: {error}") from None
