"""The thread that loads the engine and decodes: jobs in, events out. It uses no socket."""

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
from voicetap.vocabulary import Purpose

from . import languages, malloc_tuning
from .engines import base
from .engines.base import Engine, ModelUnavailable, Options, Preempted, Result

NICE = 5  # of the decoding threads, so that they do not delay heartbeats and audio of any process
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 30.0
IDLE_RELEASE_S = 5.0  # without a job, until freed memory is returned to the kernel

log = logging.getLogger("decoder")


@dataclass(frozen=True)
class EngineLoading:
    """The engine is not ready yet. `detail` says why."""

    detail: str


@dataclass(frozen=True)
class EngineLoaded:
    """An engine is ready, from the next job on. `remark` is a notice for the user, or empty."""

    engine: str
    model: str
    remark: str
    origin: str = ""  # of the model


@dataclass(frozen=True)
class EngineFailed:
    """The engine cannot be loaded. The thread has ended."""

    error: Exception


@dataclass(frozen=True)
class DecodeDone:
    job: Job
    result: Result
    decode_s: float


@dataclass(frozen=True)
class DecodeFailed:
    job: Job
    detail: str


@dataclass(frozen=True)
class DecodePreempted:
    job: Job


DecoderEvent = EngineLoading | EngineLoaded | EngineFailed | DecodeDone | DecodeFailed | DecodePreempted


class Decoder:
    """Use it in a `with` block. `fd` is readable when `events` has something."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._jobs: queue.SimpleQueue[Job | Engine | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[DecoderEvent] = queue.SimpleQueue()
        self._languages: dict[str, str] = {}  # the last sure one of each source
        self._closing = threading.Event()
        self._preempted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def __enter__(self) -> "Decoder":
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._jobs.put(None)
        self._thread.join(shutdown.DECODER_CLOSE_S)
        if not self.is_stuck:  # a stuck thread may still write to the descriptor
            os.close(self.fd)

    @property
    def is_stuck(self) -> bool:
        """Whether the thread outlived the `with` block: it is in C code that cannot be interrupted."""
        return self._thread.is_alive()

    def decode(self, job: Job) -> None:
        """Starts the job. Call it only when no other is in progress."""
        self._preempted.clear()
        self._jobs.put(job)

    def preempt(self) -> None:
        """Asks the engine to abort the current job. An engine may ignore it and finish."""
        self._preempted.set()

    def events(self) -> Iterator[DecoderEvent]:
        """Events since the last call. Never blocks."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return
        while not self._events.empty():
            yield self._events.get()

    def _publish(self, event: DecoderEvent) -> None:
        self._events.put(event)
        os.eventfd_write(self.fd, 1)

    def _run(self) -> None:
        os.nice(NICE)  # on Linux for this thread and the threads it starts, not for the main loop
        try:
            engine = self._load()
        except Exception as error:  # noqa: BLE001  the main thread raises it again
            return self._publish(EngineFailed(error))
        while engine and (work := self._next_work()):
            if isinstance(work, Job):
                self._decode(engine, work)
            else:
                engine = self._switch(engine, work)
        if engine:
            engine.close()

    def _load(self) -> Engine | None:
        """Retries with back-off while the model is unavailable. None when closed meanwhile."""
        retry_s = FIRST_RETRY_S
        while not self._closing.is_set():
            try:
                engine, remark = base.load(self._settings, lambda detail: self._publish(EngineLoading(detail)))
                self._publish_loaded(engine, remark)
                if remark:
                    threading.Thread(target=self._load_preferred, name="preferred engine", daemon=True).start()
                return engine
            except ModelUnavailable as error:
                self._publish(EngineLoading(f"{error}; trying again in {retry_s:g} s"))
            self._closing.wait(retry_s)
            retry_s = min(retry_s * 2, MAX_RETRY_S)
        return None

    def _load_preferred(self) -> None:
        """Waits for the weights that were not there at the start, then has the decoder thread switch to them."""
        os.nice(NICE)
        retry_s = FIRST_RETRY_S
        while not self._closing.wait(retry_s):
            try:
                return self._jobs.put(base.load_preferred(self._settings, lambda detail: log.debug("%s", detail)))
            except ModelUnavailable as error:
                log.debug("%s", error)
            except Exception as error:  # noqa: BLE001  the fallback goes on
                return log.info("the fallback engine stays: %s", error)
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _switch(self, engine: Engine, preferred: Engine) -> Engine:
        engine.close()
        self._publish_loaded(preferred, "")
        return preferred

    def _publish_loaded(self, engine: Engine, remark: str) -> None:
        self._publish(EngineLoaded(engine.name, engine.model, remark, getattr(engine, "origin", "")))

    def _next_work(self) -> Job | Engine | None:
        try:
            return self._jobs.get(timeout=IDLE_RELEASE_S)
        except queue.Empty:
            malloc_tuning.release_freed_memory()
            return self._jobs.get()

    def _decode(self, engine: Engine, job: Job) -> None:
        started_s = time.monotonic()
        failpoint("transcribe.decoding")
        source, is_interim = job.utterance_id.source, job.purpose == Purpose.INTERIM
        options = Options(
            speech=job.speech,
            last_language=self._languages.get(source, ""),
            is_interim=is_interim,
            is_preempted=self._preempted.is_set,
        )
        try:
            result = engine.transcribe(job.pcm, options)
        except Preempted:
            self._publish(DecodePreempted(job))
        except Exception as error:
            log.exception("utterance %s cannot be decoded", job.utterance_id)
            self._publish(DecodeFailed(job, f"{type(error).__name__}: {error}"))
        else:
            if result.language_probability >= languages.SURE and not is_interim:
                self._languages[source] = result.language
            self._publish(DecodeDone(job, result, time.monotonic() - started_s))
