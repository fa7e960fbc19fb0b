"""Who is measured: voicetap, and a peer in an environment of its own. Each says what it publishes, and when."""

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cost
from timing import FINAL, INTERIM, STARTED, STOPPED, Event

from voicetap.messages import Final, Interim, SpeechStarted, SpeechStopped
from voicetap_bundle import Bundle

START_S = 120.0
STOP_S = 30.0


class Subject:
    """`start`, then `events` grow on a thread until `stop`."""

    def __init__(self):
        self.events: list[Event] = []
        self._reading = threading.Thread(target=self._read)

    def __enter__(self) -> "Subject":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def finals(self) -> int:
        """Whatever was said in them."""
        return sum(event.kind == FINAL for event in self.events)

    def start(self) -> None:
        """Returns when it is ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """Returns when nothing is left of it."""
        raise NotImplementedError

    def find(self) -> cost.Find:
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError


class Voicetap(Subject):
    """The bundle, heard as any app would."""

    def __init__(self, sources: Sequence[str], engine: str, model: str, settings: Mapping[str, object]):
        super().__init__()
        self.box = Bundle(sources, engine=engine, model=model, settings=settings)
        self._done = threading.Event()

    def start(self) -> None:
        self.box.start(START_S)
        self._reading.start()

    def stop(self) -> None:
        self._done.set()
        if self._reading.ident:
            self._reading.join()
        self.box.stop()

    def find(self) -> cost.Find:
        return cost.of_runtime_dir(Path(self.box.settings.runtime_dir))

    def _read(self) -> None:
        with self.box.tap(interims=True, events=True) as tap:
            while not self._done.is_set():
                if (heard := tap.next(timeout_s=0.2)) and (event := _event(heard, time.monotonic())):
                    self.events.append(event)


def _event(heard: object, now_s: float) -> Event | None:
    match heard:
        case SpeechStarted():
            kind, more = STARTED, {"sound_s": heard.captured_ns / 1e9}
        case SpeechStopped():
            kind, more = STOPPED, {}
        case Interim():
            kind, more = INTERIM, {"text": heard.text, "committed": heard.committed_text}
        case Final():
            kind, more = FINAL, {"text": heard.text}
        case _:
            return None
    return Event(now_s, kind, str(heard.utterance_id), heard.source, **more)


class Peer(Subject):
    """A program that prints events as JSON, one a line, `ready` first, and ends when its stdin does."""

    def __init__(self, command: Sequence[str], log: Path):
        super().__init__()
        self._command = command
        self._log = log
        self._ready = threading.Event()

    def start(self) -> None:
        pipe = subprocess.PIPE
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=log)
        self._reading.start()
        if not self._ready.wait(START_S) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError(f"{self._command[-2:]} did not start: see {self._log}")

    def stop(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.join()
        self._process.stdout.close()

    def find(self) -> cost.Find:
        return cost.of_tree(self._process.pid)

    def _read(self) -> None:
        for line in self._process.stdout:
            event = Event(**json.loads(line))
            if event.kind == "ready":
                self._ready.set()
            else:
                self.events.append(event)
        self._ready.set()  # or it never will be
