"""Plays known speech into virtual microphones, and says when each moment of it could be heard there.

A recorder of our own listens to each microphone all the time. The samples come out of it bit for bit, so the first that
is not silent says where the file begins; and the earliest that any sample ever came says when that was: everything
is measured on this one clock, whoever is measured.
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

LOOK_EVERY_S = 1.0
PATIENCE_S = 20.0  # for what was not published when all was played


class Recorder:
    """`with Recorder(microphone, device) as recorder:` while something is played."""

    def __init__(self, microphone: VirtualMicrophone, device: str):
        self._process = microphone.record(device)
        self._reading = threading.Thread(target=self._read)
        self._started_s = float("inf")  # at the latest
        self._first: int | None = None  # sample that is not silent

    def __enter__(self) -> "Recorder":
        self._reading.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        self._process.stdout.close()

    def heard(self, known: Known) -> tuple[Spoken, ...]:
        """The same on this machine's monotonic clock."""
        if self._first is None:
            raise RuntimeError(f"nothing was heard of {known.path}: does the sound server run?")
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
    look: Callable[[], None] = lambda: None,
) -> list[tuple[Spoken, ...]]:
    """One file per device, all at once, until everything about them has been published. Returns when it was spoken.

    `look` is called now and then while they are played.
    """
    with ExitStack() as stack:
        recorders = [stack.enter_context(Recorder(microphone, device)) for device in microphone.devices[: len(files)]]
        players = [
            stack.enter_context(microphone.play(known.path, device))
            for known, device in zip(files, microphone.devices, strict=False)
        ]
        while any(player.poll() is None for player in players):
            look()
            time.sleep(LOOK_EVERY_S)
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_complete() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return [recorder.heard(known) for recorder, known in zip(recorders, files, strict=True)]
