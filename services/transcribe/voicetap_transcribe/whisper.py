"""Whisper through faster-whisper: the only file that knows it, and where its weights come from."""

import ctypes
import gc
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment
from faster_whisper.utils import _MODELS as SIZES
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from voicetap.config import nearest
from voicetap.messages import Word
from voicetap.node import ConfigError
from voicetap.settings import Settings, TranscribeSettings

from .engine import ModelMissing, ModelUnavailable, Options, Progress, Result

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
TEMPERATURES = (0.0, 0.4)  # one second try; Whisper's own ladder of six makes noise six times as dear
HUB_TIMEOUT_S = 5.0
PROGRESS_S = 1.0


class FasterWhisper:
    """faster-whisper on a directory, a size or a hub id."""

    name = "faster-whisper"

    def load(self, settings: Settings, progress: Progress) -> None:
        for chatter in ("faster_whisper", "huggingface_hub", "httpx2"):  # a line per utterance, request and retry
            logging.getLogger(chatter).setLevel(logging.ERROR)
        self._settings = settings.transcribe
        directory = find(self._settings.model, self._settings.offline, progress)
        self.model = Path(directory).name if Path(self._settings.model).is_dir() else self._settings.model
        progress(f"loading {self.model}")
        self._whisper = _open(directory, self._settings)
        self._language = _language(self._settings, self._whisper)

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        sound = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        prompt = f"{self._settings.initial_prompt} {options.previous_text}".strip()
        segments, about = self._whisper.transcribe(
            sound,
            language=self._language,
            task=self._settings.task,
            beam_size=self._settings.beam_size,
            temperature=list(TEMPERATURES),
            initial_prompt=prompt or None,
            hotwords=self._settings.hotwords or None,
            word_timestamps=self._settings.word_times,
            without_timestamps=True,  # vad has cut the sound: timestamp tokens would only cost time
            condition_on_previous_text=False,
            vad_filter=False,
        )
        return _result(list(segments), about.language, about.language_probability)

    def close(self) -> None:
        """glibc keeps freed memory for itself, so it is told not to."""
        self._whisper.model.unload_model()
        del self._whisper
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def find(model: str, offline: bool, progress: Progress) -> str:
    """The directory of the weights: as given, else from the local cache, else from the hub.

    Raises ConfigError when there is no such model, ModelUnavailable when the hub cannot be reached.
    """
    if Path(model).is_dir():
        return model
    if model.startswith((".", "/", "~")):
        raise ConfigError(f"transcribe.model: there is no directory {model}")
    if "/" not in model and model not in SIZES:
        raise ConfigError(f"transcribe.model: there is no size {model}{nearest(model, SIZES)}")
    repository = SIZES.get(model, model)
    if cached := _cached(repository):
        return cached
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"transcribe.model: {model} is not in the local cache, and offline is set")
    progress(f"downloading {repository} from {constants.ENDPOINT}")
    return _downloaded(repository, progress)


def _cached(repository: str) -> str | None:
    try:
        directory = snapshot_download(repository, allow_patterns=FILES, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise ConfigError(f"transcribe.model: {repository} is no hub id, which looks like owner/name") from None
    return directory if Path(directory, "model.bin").is_file() else None  # a download that was cut short


def _downloaded(repository: str, progress: Progress) -> str:
    try:
        HfApi(constants.ENDPOINT).model_info(repository, timeout=HUB_TIMEOUT_S)  # what follows would wait for ever
        return snapshot_download(
            repository, allow_patterns=FILES, etag_timeout=HUB_TIMEOUT_S, tqdm_class=_progress_bar(repository, progress)
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        reason = "needs a login" if isinstance(error, GatedRepoError) else "does not exist"
        raise ConfigError(f"transcribe.model: {repository} {reason} on {constants.ENDPOINT}") from error
    except (OSError, HTTPError) as error:
        why = str(error).partition("\n")[0].removeprefix("Got: ")
        raise ModelUnavailable(f"{repository} cannot be had from {constants.ENDPOINT}: {why}") from error


def _progress_bar(repository: str, progress: Progress) -> type[tqdm]:
    """A bar that draws nothing and says how far it is, PROGRESS_S apart."""

    class Bar(tqdm):
        def __init__(self, *arguments: object, **named: object):
            super().__init__(*arguments, **named | {"file": io.StringIO(), "disable": False, "mininterval": PROGRESS_S})

        def display(self, *arguments: object, **named: object) -> None:
            if self.unit == "B" and self.n:
                progress(f"downloading {repository}: {self.n / 1e6:.0f} of {self.total / 1e6:.0f} MB")

    return Bar


def _open(directory: str, settings: TranscribeSettings) -> WhisperModel:
    device = _device(settings)
    if not Path(directory, "tokenizer.json").is_file():  # faster-whisper would ask the hub for another one
        raise ConfigError(f"the model in {directory} cannot be used: it has no tokenizer.json")
    try:
        return _EveryWord(
            directory,
            device=device,
            compute_type=_compute_type(settings, device),
            cpu_threads=settings.threads or max(1, len(os.sched_getaffinity(0)) // settings.workers),
        )
    except Exception as error:
        if device == "cuda":  # out of memory, or a driver that is not up yet
            raise ModelUnavailable(f"the model cannot be loaded on CUDA: {_line(error)}") from error
        raise ConfigError(f"the model in {directory} cannot be used: {_line(error)}") from error


class _EveryWord(WhisperModel):
    """faster-whisper without two habits that hurt short utterances. (A test counts decodes and words.)"""

    def _split_segments_by_timestamps(self, **window: object) -> tuple[list, int, bool]:
        """It would decode what follows the last timed word once more, which is silence."""
        segments, seek, ends_there = super()._split_segments_by_timestamps(**window)
        is_last = window["segment_size"] < self.feature_extractor.nb_max_frames
        return segments, seek, ends_there or is_last

    def add_word_timestamps(self, segments: list[list[dict]], *more: object, **named: object) -> None:
        """It would drop the text of a segment whose words are all timed to one instant."""
        super().add_word_timestamps(segments, *more, **named)
        for segment in (segment for window in segments for segment in window):
            segment["end"] = max(segment["end"], segment["start"] + self.time_precision)


def _device(settings: TranscribeSettings) -> str:
    if settings.device != "auto":
        return settings.device
    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _compute_type(settings: TranscribeSettings, device: str) -> str:
    if settings.compute_type != "default":
        return settings.compute_type
    return "float16" if device == "cuda" else "int8"


def _language(settings: TranscribeSettings, whisper: WhisperModel) -> str | None:
    known = whisper.supported_languages
    if settings.language and settings.language not in known:
        hint = nearest(settings.language, known) if len(known) > 1 else "; it knows English only"
        raise ConfigError(f"transcribe.language: {settings.model} does not know {settings.language}{hint}")
    return settings.language or None


def _result(segments: list[Segment], language: str, language_probability: float) -> Result:
    return Result(
        text="".join(segment.text for segment in segments),
        words=tuple(
            Word(word=word.word, start_s=float(word.start), end_s=float(word.end), probability=float(word.probability))
            for segment in segments
            for word in segment.words or ()
        ),
        language=language,
        language_probability=language_probability,
        avg_logprob=_mean(segments, lambda segment: segment.avg_logprob),
        no_speech_prob=_mean(segments, lambda segment: segment.no_speech_prob),
        compression_ratio=max((segment.compression_ratio for segment in segments), default=0.0),
    )


def _mean(segments: list[Segment], of: Callable[[Segment], float]) -> float:
    """Weighted by tokens."""
    tokens = sum(len(segment.tokens) for segment in segments)
    return sum(of(segment) * len(segment.tokens) for segment in segments) / tokens if tokens else 0.0


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
