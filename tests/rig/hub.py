"""A model hub on localhost: the part of Hugging Face's HTTP API that a download uses."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK_BYTES = 1 << 18
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(repository: str, directory: Path, trickle_s: float = 0.0) -> Iterator[str]:
    """Yields the address of a hub with one repository, which has the files of `directory`.

    `trickle_s`: how long it waits before every BLOCK_BYTES of a large file.
    """
    named = {"repository": repository, "directory": directory, "trickle_s": trickle_s}
    with _served(type("Handler", (_Handler,), named)) as address:
        yield address


@contextmanager
def portal(status: int, body: bytes) -> Iterator[str]:
    """Yields the address of a server that gives the same answer to every request."""
    with _served(type("Portal", (_Portal,), {"status": status, "body": body})) as address:
        yield address


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository: str
    directory: Path
    trickle_s: float

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        file = self.directory / path.rpartition("/")[2]
        if path.startswith(f"/api/models/{self.repository}"):
            self._answer(json.dumps(self._tree() if "/tree/" in path else self._about()).encode())
        elif path.startswith(f"/{self.repository}/resolve/") and file.is_file():
            self._answer(file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT})
        else:
            self._answer(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        """Keeps requests out of the test's output."""

    def _about(self) -> dict[str, object]:
        files = [{"rfilename": entry["path"]} for entry in self._tree()]
        return {"id": self.repository, "sha": COMMIT, "siblings": files}

    def _tree(self) -> list[dict[str, object]]:
        return [_entry(file) for file in sorted(self.directory.iterdir())]

    def _answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            for offset in range(0, len(body), BLOCK_BYTES):
                time.sleep(self.trickle_s if len(body) > BLOCK_BYTES else 0)
                self.wfile.write(body[offset : offset + BLOCK_BYTES])


class _Portal(BaseHTTPRequestHandler):
    status: int
    body: bytes

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        if self.status == 302:
            host, port = self.server.server_address[:2]
            self.send_header("Location", f"http://{host}:{port}/login")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.body)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        """Keeps requests out of the test's output."""


def _entry(file: Path) -> dict[str, object]:
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _etag(file)}


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
