"""The programs that bench compares: voicetap, and a peer in an environment of its own. Each yields timed events."""

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cost
from timing import FINAL, INTERIM, STARTED, STOPPED, TimedEvent

from voicetap.messages import Final, Interim, SpeechStarted, SpeechStopped
from voicetap_bundle import Bundle

START_S = 120.0
STOP_S = 30.0


class Subject:
    """From `start` to `stop` a thread appends to `events`."""

    def __init__(self):
        self.events: list[TimedEvent] = []
        self._reading = threading.Thread(target=self._read)

    def __enter__(self) -> "Subject":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def finals(self) -> int:
        """The number of finals, with or without text."""
        return sum(event.kind == FINAL for event in self.events)

    def start(self) -> None:
        """Starts it and returns when it is ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stops it and returns when none of its processes is left."""
        raise NotImplementedError

    def find(self) -> cost.Find:
        """A function that returns its processes."""
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError


class Voicetap(Subject):
    """A bundle, read through a Tap like by any app."""

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
                if (message := tap.next(timeout_s=0.2)) and (event := _event(message, time.monotonic())):
                    self.events.append(event)


def _event(message: object, now_s: float) -> TimedEvent | None:
    match message:
        case SpeechStarted():
            kind, more = STARTED, {"sound_s": message.captured_ns / 1e9}
        case SpeechStopped():
            kind, more = STOPPED, {}
        case Interim():
            kind, more = INTERIM, {"text": message.text, "committed": message.committed_text}
        case Final():
            kind, more = FINAL, {"text": message.text}
        case _:
            return None
    return TimedEvent(now_s, kind, str(message.utterance_id), message.source, **more)


class Peer(Subject):
    """A program that prints events as JSON lines, `ready` first, and ends with its stdin."""

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
            event = TimedEvent(**json.loads(line))
            if event.kind == "ready":
                self._ready.set()
            else:
                self.events.append(event)
        self._ready.set()  # it ended: `start` checks for that
