"""The thread that loads the engine and decodes: jobs in, events out. It touches no socket."""

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from voicetap.messages import Job
from voicetap.service import shutdown
from voicetap.service.failpoint import failpoint
from voicetap.settings import Settings

from . import engine as engines
from . import memory
from .drafts import INTERIM
from .engine import Abandoned, Engine, ModelUnavailable, Options, Result

NICE = 5  # so that decoding cannot starve the beats and the sound of anybody
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 30.0
KEEP_S = 5.0  # without a job, until the memory that the last one used is given back

log = logging.getLogger("decoder")


@dataclass(frozen=True)
class Loading:
    """The engine is not ready yet; why, in words."""

    detail: str


@dataclass(frozen=True)
class Loaded:
    """The engine is ready; `remark` is what people should know about it."""

    engine: str
    model: str
    remark: str


@dataclass(frozen=True)
class NotLoaded:
    """The engine will never be ready. The thread has ended."""

    error: Exception


@dataclass(frozen=True)
class Decoded:
    job: Job
    result: Result
    decode_s: float


@dataclass(frozen=True)
class Undecodable:
    job: Job
    detail: str


@dataclass(frozen=True)
class GaveWay:
    job: Job


Event = Loading | Loaded | NotLoaded | Decoded | Undecodable | GaveWay


class Decoder:
    """`fd` becomes readable when `events` has something. Use it in a `with` block."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def __enter__(self) -> "Decoder":
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._jobs.put(None)
        self._thread.join(shutdown.DECODER_CLOSE_S)
        if not self.is_stuck:  # else it may still write to the descriptor
            os.close(self.fd)

    @property
    def is_stuck(self) -> bool:
        """Whether the thread outlived `with`: it is in C code that nobody can interrupt."""
        return self._thread.is_alive()

    def decode(self, job: Job) -> None:
        """One at a time."""
        self._hurry.clear()
        self._jobs.put(job)

    def give_way(self) -> None:
        """The job in hand is to be abandoned where the engine can do it, unless it is done before."""
        self._hurry.set()

    def events(self) -> Iterator[Event]:
        """What happened since the last call; never blocks."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return
        while not self._events.empty():
            yield self._events.get()

    def _tell(self, event: Event) -> None:
        self._events.put(event)
        os.eventfd_write(self.fd, 1)

    def _run(self) -> None:
        os.nice(NICE)  # of this thread and those it starts, not of the loop that beats
        try:
            engine = self._load()
        except Exception as error:  # noqa: BLE001  the main thread raises it again
            return self._tell(NotLoaded(error))
        while engine and (job := self._next_job()):
            self._decode(engine, job)
        if engine:
            engine.close()

    def _load(self) -> Engine | None:
        """None when told to close first."""
        retry_s = FIRST_RETRY_S
        while not self._closing.is_set():
            try:
                engine, remark = engines.load(self._settings, lambda detail: self._tell(Loading(detail)))
                self._tell(Loaded(engine.name, engine.model, remark))
                return engine
            except ModelUnavailable as error:
                self._tell(Loading(f"{error}; trying again in {retry_s:g} s"))
            self._closing.wait(retry_s)
            retry_s = min(retry_s * 2, MAX_RETRY_S)
        return None

    def _next_job(self) -> Job | None:
        try:
            return self._jobs.get(timeout=KEEP_S)
        except queue.Empty:
            memory.give_back()
            return self._jobs.get()

    def _decode(self, engine: Engine, job: Job) -> None:
        started_s = time.monotonic()
        failpoint("transcribe.decoding")
        try:
            result = engine.transcribe(job.pcm, self._options(job))
        except Abandoned:
            self._tell(GaveWay(job))
        except Exception as error:
            log.exception("utterance %s cannot be decoded", job.utterance_id)
            self._tell(Undecodable(job, f"{type(error).__name__}: {error}"))
        else:
            self._tell(Decoded(job, result, time.monotonic() - started_s))

    def _options(self, job: Job) -> Options:
        return Options(previous_text=job.previous_text, is_interim=job.purpose == INTERIM, gives_way=self._hurry.is_set)
