"""Plays known speech into virtual microphones, and determines when each sample could be recorded there at the earliest.

A recorder of our own reads each microphone. It receives the samples unchanged, so the first one that is not zero shows
where the file begins; and the earliest receipt of any sample, relative to its position, dates all of them on the
monotonic clock. All subjects are measured on this clock.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from known import Known, Spoken

from rig.microphone import VirtualMicrophone
from rig.speech import RATE_HZ

POLL_S = 1.0
PUBLISH_S = 20.0  # for the last messages, after all was played


class Recorder:
    """Records a device within `with Recorder(microphone, device) as recorder:`."""

    def __init__(self, microphone: VirtualMicrophone, device: str):
        self._process = microphone.record(device)
        self._reading = threading.Thread(target=self._read)
        self._started_s = float("inf")  # upper bound of when sample 0 was captured
        self._first: int | None = None  # sample that is not zero

    def __enter__(self) -> "Recorder":
        self._reading.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        self._process.stdout.close()

    def spoken(self, known: Known) -> tuple[Spoken, ...]:
        """The file's utterances on the monotonic clock. Raises RuntimeError when nothing was recorded."""
        if self._first is None:
            raise RuntimeError(f"nothing was recorded of {known.path}: does the sound server run?")
        began_s = self._started_s + self._first / RATE_HZ - known.first_s
        return tuple(spoken.later(began_s) for spoken in known.spoken)

    def _read(self) -> None:
        samples, rest = 0, b""
        while pcm := os.read(self._process.stdout.fileno(), 1 << 16):
            now_s = time.monotonic()
            pcm = rest + pcm
            rest = pcm[len(pcm) & ~1 :]
            values = np.frombuffer(pcm[: len(pcm) & ~1], "<i2")
            if self._first is None and values.any():
                self._first = samples + int(np.flatnonzero(values)[0])
            samples += len(values)
            self._started_s = min(self._started_s, now_s - samples / RATE_HZ)


def play(
    microphone: VirtualMicrophone,
    files: Sequence[Known],
    is_complete: Callable[[], bool],
    poll: Callable[[], None] = lambda: None,
) -> list[tuple[Spoken, ...]]:
    """Plays one file per device, all at once, and waits until `is_complete`. Returns the utterances of each file on the
    monotonic clock.

    `poll` is called every POLL_S while they are played.
    """
    with ExitStack() as stack:
        recorders = [stack.enter_context(Recorder(microphone, device)) for device in microphone.devices[: len(files)]]
        players = [
            stack.enter_context(microphone.play(known.path, device))
            for known, device in zip(files, microphone.devices, strict=False)
        ]
        while any(player.poll() is None for player in players):
            poll()
            time.sleep(POLL_S)
        deadline_s = time.monotonic() + PUBLISH_S
        while not is_complete() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return [recorder.spoken(known) for recorder, known in zip(recorders, files, strict=True)]
