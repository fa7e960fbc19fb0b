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

from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings, TranscribeSettings

from .. import languages, malloc_tuning, model_download
from ..hallucination_filter import compression_ratio
from . import decoding, windows
from .base import ModelUnavailable, Options, Progress, Result
from .decoding import Candidate, Decoded
from .windows import FRAMES_PER_S, FULL_FRAMES

MAX_INITIAL_TIMESTAMP = 50  # 1 s, as in Whisper's own code: the first words are no later
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
        self._languages = _languages(self._settings, self._whisper)
        self._suppressed = get_suppressed_tokens(self._tokenizer((*self._languages, "en")[0]), [-1])
        self._plan = windows.plan_of(found.repository, found.directory)
        if self._plan is windows.DECLARED and not self._supports_short_windows():
            self._plan = windows.UNKNOWN
        malloc_tuning.release_freed_memory()  # converting the weights took as much as a decode takes

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        features = self._features(np.frombuffer(pcm, "<i2"))
        transcribe = partial(self._transcribe_window, options)
        return decoding.transcribe_windows(features, options.speech, transcribe)

    def close(self) -> None:
        self._whisper.model.unload_model()
        del self._whisper
        gc.collect()
        malloc_tuning.release_freed_memory()

    def _features(self, samples: np.ndarray) -> np.ndarray:
        features = self._whisper.feature_extractor(samples.astype(np.float32) / 32768)
        return features[:, :-1]  # the last frame is beyond the audio

    def _transcribe_window(self, options: Options, features: np.ndarray, speech: bytes) -> Result:
        """Features of shape (mels, frames), at most FULL_FRAMES, and the speech from their beginning on."""
        plan, frames = self._plan, features.shape[1]
        size = (plan.interim if options.is_interim else plan.final).frames(frames)
        decoded = self._decode(features, size, options)
        if size < FULL_FRAMES and plan.timestamps and not options.is_interim:
            audio_s = frames / FRAMES_PER_S
            if decoding.is_incomplete(decoded, speech, audio_s, plan.again_below):
                decoded = decoding.better(decoded, self._decode(features, FULL_FRAMES, options), speech, audio_s)
            if span := decoding.uncovered_span(decoded, speech, audio_s):
                decoded = self._with_stretch(decoded, features, span, options)
        best = decoded.best
        return Result(
            text=best.text,
            words=decoded.words if self._settings.word_timestamps or options.is_interim else (),
            language=decoded.language,
            language_probability=decoded.language_probability,
            avg_logprob=best.avg_logprob,
            no_speech_prob=best.no_speech_prob,
            compression_ratio=compression_ratio(best.text) if best.text else 0.0,
        )

    def _with_stretch(
        self, decoded: Decoded, features: np.ndarray, span_s: tuple[float, float], options: Options
    ) -> Decoded:
        begin, end = (round(second * FRAMES_PER_S) for second in span_s)
        stretch = features[:, begin:end]
        return decoding.inserted(
            decoded, self._decode(stretch, self._plan.final.frames(end - begin), options), span_s[0]
        )

    def _decode(self, features: np.ndarray, size: int, options: Options) -> Decoded:
        """Encodes a window of `size` frames once for all that is derived."""
        frames = features.shape[1]
        options.check_preempted()
        encoded = self._whisper.encode(windows.pad(features, size, floor=self._plan.floor))
        options.check_preempted()
        language, language_probability = self._language_of(encoded, options.last_language)
        tokenizer = self._tokenizer(language)
        generate = partial(self._generate, encoded, tokenizer, frames)
        beam_size = 1 if options.is_interim else self._settings.beam_size
        best = decoding.search(generate, beam_size, greedy_first=self._plan.greedy_first)
        options.check_preempted()
        words = ()
        if self._settings.word_timestamps or options.is_interim or options.speech:
            words = self._words(encoded, tokenizer, best, frames)
        return Decoded(best, words, language, language_probability)

    def _language_of(self, encoded: ctranslate2.StorageView, last_sure: str) -> tuple[str, float]:
        if len(self._languages) == 1 or not self._whisper.model.is_multilingual:
            return (*self._languages, "en")[0], 1.0
        detected = self._whisper.model.detect_language(encoded)[0]
        return languages.choose(
            [(token.strip("<|>"), probability) for token, probability in detected], self._languages, last_sure
        )

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
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP,
            **sampling if temperature else {},
        )[0]
        all_tokens = generated.sequences_ids[0]
        avg_logprob = generated.scores[0] * len(all_tokens) / (len(all_tokens) + 1)  # the end token counts too
        tokens = [token for token in all_tokens if token < tokenizer.eot]  # without timestamps
        return Candidate(tokens, tokenizer.decode(tokens), avg_logprob, generated.no_speech_prob, frames / FRAMES_PER_S)

    def _prompt(self, tokenizer: Tokenizer) -> list[int]:
        initial = self._settings.initial_prompt.strip()
        return self._whisper.get_prompt(
            tokenizer,
            tokenizer.encode(f" {initial}") if initial else [],
            without_timestamps=not self._plan.timestamps,
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
        full, short = (
            self._decode(features, window.frames(features.shape[1]), Options()).best.text
            for window in (windows.UNKNOWN.final, windows.DECLARED.final)
        )
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


def _languages(settings: TranscribeSettings, whisper: WhisperModel) -> tuple[str, ...]:
    wanted, supported = languages.parse(settings.language), whisper.supported_languages
    for language in wanted:
        if language not in supported:
            hint = "" if len(supported) > 1 else "; it supports English only"
            raise ConfigError(f"transcribe.language: {settings.model} does not support {language}{hint}")
    return wanted


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
