"""The engine faster-whisper. No other file imports that library."""

import gc
import logging
import os
import wave
from functools import partial
from importlib.resources import files
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from faster_whisper.utils import _MODELS as SIZES

from voicetap.config import nearest
from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings, TranscribeSettings

from .. import malloc_tuning, model_download
from ..hallucination_filter import compression_ratio
from . import decoding
from .base import ModelUnavailable, Options, Progress, Result
from .decoding import FRAMES_PER_S, FULL_FRAMES, Candidate

BEST_OF = 5  # samples per search with temperature
FREE_TOKENS, MAX_TOKENS_PER_S = 30, 30  # more than any speaker says; loops exceed it
PREPENDED_PUNCTUATION, APPENDED_PUNCTUATION = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # to the next and previous word

log = logging.getLogger("whisper")


class FasterWhisper:
    """faster-whisper on a directory, a size or a hub id.

    Uses parts of WhisperModel, not its `transcribe`: that encodes audio again to detect its language and to decode
    the silence at its end, drops words of zero duration, and uses beam search even where greedy search is confident.
    (Tests compare the results.)
    """

    name = "faster-whisper"

    def load(self, settings: Settings, progress: Progress) -> None:
        for logger in ("faster_whisper", "huggingface_hub", "httpx2"):  # they log each utterance, request and retry
            logging.getLogger(logger).setLevel(logging.ERROR)
        self._settings = settings.transcribe
        found = model_download.find_model(self._settings.model, SIZES, self._settings.offline, progress)
        self.model = found.directory.name if not found.origin else self._settings.model
        self.origin = found.origin
        progress(f"loading {self.model}")
        self._whisper = _open(str(found.directory), self._settings)
        self._language = _language(self._settings, self._whisper)
        self._suppressed = get_suppressed_tokens(self._tokenizer(self._language or "en"), [-1])
        self._use_short_windows = False
        if decoding.declares_short_windows(found.directory):
            self._use_short_windows = self._supports_short_windows()

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        features = self._features(np.frombuffer(pcm, "<i2"))
        return decoding.transcribe_windows(features, lambda window: self._transcribe_window(window, options))

    def close(self) -> None:
        self._whisper.model.unload_model()
        del self._whisper
        gc.collect()
        malloc_tuning.release_freed_memory()

    def _features(self, samples: np.ndarray) -> np.ndarray:
        features = self._whisper.feature_extractor(samples.astype(np.float32) / 32768)
        return features[:, :-1]  # the last frame is beyond the audio

    def _transcribe_window(self, features: np.ndarray, options: Options) -> Result:
        """Features of shape (mels, frames), at most FULL_FRAMES. Encodes them once for all that is derived."""
        frames = features.shape[1]
        options.check_preempted()
        size = decoding.window_frames(frames) if self._use_short_windows else FULL_FRAMES
        encoded = self._whisper.encode(decoding.pad(features, size))
        options.check_preempted()
        language, language_probability = self._language_of(encoded)
        tokenizer = self._tokenizer(language)
        generate = partial(self._generate, encoded, tokenizer, frames)
        best = decoding.search(generate, 1 if options.is_interim else self._settings.beam_size)
        options.check_preempted()
        return Result(
            text=best.text,
            words=self._words(encoded, tokenizer, best, frames)
            if self._settings.word_timestamps or options.is_interim
            else (),
            language=language,
            language_probability=language_probability,
            avg_logprob=best.avg_logprob,
            no_speech_prob=best.no_speech_prob,
            compression_ratio=compression_ratio(best.text) if best.text else 0.0,
        )

    def _language_of(self, encoded: ctranslate2.StorageView) -> tuple[str, float]:
        if self._language or not self._whisper.model.is_multilingual:
            return self._language or "en", 1.0
        token, probability = self._whisper.model.detect_language(encoded)[0][0]
        return token.strip("<|>"), probability

    def _tokenizer(self, language: str) -> Tokenizer:
        whisper = self._whisper
        return Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, self._settings.task, language)

    def _generate(
        self,
        encoded: ctranslate2.StorageView,
        tokenizer: Tokenizer,
        frames: int,
        *,
        beam_size: int,
        temperature: float,
    ) -> Candidate:
        prompt = self._prompt(tokenizer)
        sampling = {"num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature}
        generated = self._whisper.model.generate(
            encoded,
            [prompt],
            beam_size=beam_size,
            max_length=self._max_length(len(prompt), frames),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
            **sampling if temperature else {},
        )[0]
        tokens = generated.sequences_ids[0]
        avg_logprob = generated.scores[0] * len(tokens) / (len(tokens) + 1)  # the end token counts too
        return Candidate(tokens, tokenizer.decode(tokens), avg_logprob, generated.no_speech_prob)

    def _prompt(self, tokenizer: Tokenizer) -> list[int]:
        initial = self._settings.initial_prompt.strip()
        return self._whisper.get_prompt(
            tokenizer,
            tokenizer.encode(f" {initial}") if initial else [],
            without_timestamps=True,  # vad has cut the audio: timestamp tokens would only cost time
            hotwords=self._settings.hotwords or None,
        )

    def _max_length(self, prompt_tokens: int, frames: int) -> int:
        """CTranslate2 uses at most half of it for new tokens, and at most what the prompt leaves."""
        new_tokens = FREE_TOKENS + MAX_TOKENS_PER_S * frames // FRAMES_PER_S
        return min(self._whisper.max_length, max(2 * new_tokens, prompt_tokens + new_tokens))

    def _words(
        self, encoded: ctranslate2.StorageView, tokenizer: Tokenizer, best: Candidate, frames: int
    ) -> tuple[Word, ...]:
        segment = {"seek": 0, "start": 0.0, "end": frames / FRAMES_PER_S, "tokens": best.tokens}
        self._whisper.add_word_timestamps(
            [[segment]], tokenizer, encoded, max(2, frames), PREPENDED_PUNCTUATION, APPENDED_PUNCTUATION, 0.0
        )
        return tuple(
            Word(
                word=word["word"],
                start_s=float(word["start"]),
                end_s=float(word["end"]),
                probability=float(word["probability"]),
            )
            for word in segment["words"]
        )

    def _supports_short_windows(self) -> bool:
        """Decodes a sample in a full and in a short window and compares the texts: a declaration may be wrong."""
        with files(__package__).joinpath("sample.wav").open("rb") as file, wave.open(file) as sample:
            features = self._features(np.frombuffer(sample.readframes(sample.getnframes()), "<i2"))
        full = self._transcribe_window(features, Options()).text
        self._use_short_windows = True
        short = self._transcribe_window(features, Options()).text
        if full and full == short:
            return True
        log.warning("%s decodes %r in a short window and %r in a full one: using full ones", self.model, short, full)
        return False


def _open(directory: str, settings: TranscribeSettings) -> WhisperModel:
    device = _device(settings)
    if not Path(directory, "tokenizer.json").is_file():  # faster-whisper would download another one
        raise ConfigError(f"the model in {directory} cannot be used: it has no tokenizer.json")
    try:
        return WhisperModel(
            directory,
            device=device,
            compute_type=_compute_type(settings, device),
            cpu_threads=settings.cpu_threads or max(1, len(os.sched_getaffinity(0)) // settings.workers),
        )
    except Exception as error:
        if device == "cuda":  # out of memory, or the driver is not ready yet
            raise ModelUnavailable(f"the model cannot be loaded on CUDA: {_line(error)}") from error
        raise ConfigError(f"the model in {directory} cannot be used: {_line(error)}") from error


def _device(settings: TranscribeSettings) -> str:
    if settings.device != "auto":
        return settings.device
    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _compute_type(settings: TranscribeSettings, device: str) -> str:
    if settings.compute_type != "default":
        return settings.compute_type
    return "float16" if device == "cuda" else "int8"


def _language(settings: TranscribeSettings, whisper: WhisperModel) -> str | None:
    supported = whisper.supported_languages
    if settings.language and settings.language not in supported:
        hint = nearest(settings.language, supported) if len(supported) > 1 else "; it supports English only"
        raise ConfigError(f"transcribe.language: {settings.model} does not support {settings.language}{hint}")
    return settings.language or None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
