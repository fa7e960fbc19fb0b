"""Asks PulseAudio which of its sources we hear: it moves a recording to another one without a word.

Through PortAudio and ALSA that cannot be seen: the stream goes on, with the sound of another room. PipeWire's
PulseAudio side answers as well. Where `pactl` is missing, or ALSA is used directly, nothing is asked and nothing known.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import subprocess

LOOK_S = 15.0  # 10 ms of CPU each, with the start of two processes
_ASK = (
    "timeout",
    "--foreground",
    "3",
    "pactl",
    "--format=json",
    "list",
)  # a sound server that is stopped never answers


class Whereabouts:
    """Of one recording of this process. `moved_to` never waits: it asks, and reads the answer at a later call."""

    def __init__(self, environ: Mapping[str, str] = os.environ):
        self._is_known = _has_sound_server(environ)
        self._asked: tuple[subprocess.Popen, BinaryIO] | None = None
        self._look_s = 0.0
        self._first = ""
        self._now = ""

    def close(self) -> None:
        if self._asked:
            process, answer = self._asked
            process.terminate()
            process.wait()
            answer.close()
            self._asked = None

    def moved_to(self, now_s: float) -> str:
        """The source that is heard, if it is not the one of the first look; empty as far as anybody knows."""
        if self._asked:
            self._listen()
        elif self._is_known and now_s >= self._look_s:
            self._ask(now_s)
        return self._now if self._now != self._first else ""

    def _ask(self, now_s: float) -> None:
        import subprocess  # 10 ms, which a start need not wait for

        answer = os.fdopen(os.memfd_create("pactl"), "w+b")  # not a pipe, which somebody would have to empty
        plain = os.environ | {"LC_ALL": "C"}  # elsewhere it writes commas into its numbers
        process = subprocess.Popen(_ASK, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.DEVNULL, env=plain)
        self._asked, self._look_s = (process, answer), now_s + LOOK_S

    def _listen(self) -> None:
        process, answer = self._asked
        if process.poll() is not None:
            answer.seek(0)
            self._hear(source_of(os.getpid(), answer.read()))
            self.close()

    def _hear(self, source: str) -> None:
        if source:
            self._first = self._first or source
            self._now = source


def source_of(pid: int, answer: bytes) -> str:
    """The name of the source that the one recording of this process comes from; empty when that cannot be told."""
    try:
        listed = json.loads(answer)
        names = {source["index"]: source["name"] for source in listed["sources"]}
        ours = [
            recording["source"]
            for recording in listed["source_outputs"]
            if recording["properties"].get("application.process.id") == str(pid)
        ]
    except (ValueError, KeyError, TypeError):  # other versions may say it otherwise
        return ""
    return names.get(ours[0], "") if len(ours) == 1 else ""


def _has_sound_server(environ: Mapping[str, str]) -> bool:
    session = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return bool(shutil.which("pactl")) and ("PULSE_SERVER" in environ or Path(session, "pulse/native").is_socket())
