"""Asks PulseAudio which of its sources this process records: it may move a recording to another one silently.

PortAudio and ALSA do not report this: the stream continues, with the audio of another room. PipeWire's PulseAudio
interface answers as well. Without `pactl`, or where ALSA is used directly, nothing is monitored.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import subprocess

INTERVAL_S = 15.0  # each query starts two processes, 10 ms of CPU
_QUERY = (
    "timeout",
    "--foreground",
    "3",
    "pactl",
    "--format=json",
    "list",
)  # a stopped sound server never answers


class PulseMonitor:
    """Monitors one recording of this process."""

    def __init__(self, environ: Mapping[str, str] = os.environ):
        self._is_available = _has_sound_server(environ)
        self._query: tuple[subprocess.Popen, BinaryIO] | None = None
        self._next_query_s = 0.0
        self._first = ""
        self._current = ""

    def close(self) -> None:
        if self._query:
            process, answer = self._query
            process.terminate()
            process.wait()
            answer.close()
            self._query = None

    def poll(self, now_s: float) -> str:
        """The source that the recording was moved to; empty if it is the first one, or unknown.

        Never waits: one call starts a query, a later one reads the answer.
        """
        if self._query:
            self._poll_query()
        elif self._is_available and now_s >= self._next_query_s:
            self._start_query(now_s)
        return self._current if self._current != self._first else ""

    def _start_query(self, now_s: float) -> None:
        import subprocess  # 10 ms that need not delay the start

        answer = os.fdopen(os.memfd_create("pactl"), "w+b")  # a pipe would have to be read while pactl writes
        env = os.environ | {"LC_ALL": "C"}  # in other locales pactl writes commas into its numbers
        process = subprocess.Popen(_QUERY, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.DEVNULL, env=env)
        self._query, self._next_query_s = (process, answer), now_s + INTERVAL_S

    def _poll_query(self) -> None:
        process, answer = self._query
        if process.poll() is not None:
            answer.seek(0)
            self._update(source_of(os.getpid(), answer.read()))
            self.close()

    def _update(self, source: str) -> None:
        if source:
            self._first = self._first or source
            self._current = source


def source_of(pid: int, answer: bytes) -> str:
    """The PulseAudio source that process `pid` records; empty unless it has exactly one recording of a listed source.

    `answer` is the output of `pactl --format=json list`.
    """
    try:
        listed = json.loads(answer)
        names = {source["index"]: source["name"] for source in listed["sources"]}
        ours = [
            recording["source"]
            for recording in listed["source_outputs"]
            if recording["properties"].get("application.process.id") == str(pid)
        ]
    except (ValueError, KeyError, TypeError):  # another version of pactl may use another format
        return ""
    return names.get(ours[0], "") if len(ours) == 1 else ""


def _has_sound_server(environ: Mapping[str, str]) -> bool:
    session = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return bool(shutil.which("pactl")) and ("PULSE_SERVER" in environ or Path(session, "pulse/native").is_socket())
