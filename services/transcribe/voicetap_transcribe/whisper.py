"""Whisper through faster-whisper: the only file that knows it."""

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

from . import hub, memory, windows
from .engine import ModelUnavailable, Options, Progress, Result, look_up
from .guards import compression_ratio
from .search import Guess, best_guess
from .windows import FRAMES_PER_S, FULL_FRAMES

BEST_OF = 5  # tries with temperature
FREE_TOKENS, MAX_TOKENS_PER_S = 30, 30  # nobody says more; loops do
BEFORE_WORD, AFTER_WORD = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # what belongs to the next word, and to the last

log = logging.getLogger("whisper")


class FasterWhisper:
    """faster-whisper on a directory, a size or a hub id.

    Its parts, not its `transcribe`: that encodes sound again for its language and for silence at its end, drops words
    timed to one instant, and searches wide where the first guess is sure. (Tests compare what they hear.)
    """

    name = "faster-whisper"

    def load(self, settings: Settings, progress: Progress) -> None:
        for chatter in ("faster_whisper", "huggingface_hub", "httpx2"):  # a line per utterance, request and retry
            logging.getLogger(chatter).setLevel(logging.ERROR)
        self._settings = settings.transcribe
        directory = hub.find(self._settings.model, SIZES, self._settings.offline, progress)
        self.model = Path(directory).name if Path(self._settings.model).is_dir() else self._settings.model
        progress(f"loading {self.model}")
        self._whisper = _open(directory, self._settings)
        self._language = _language(self._settings, self._whisper)
        self._suppressed = get_suppressed_tokens(self._tokenizer(self._language or "en"), [-1])
        self._hears_short_windows = False
        if windows.are_declared_short(Path(directory)):
            self._hears_short_windows = self._hears_the_same_in_a_short_window()

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        features = self._features(np.frombuffer(pcm, "<i2"))
        return windows.one_after_another(features, lambda window: self._hear(window, options))

    def close(self) -> None:
        self._whisper.model.unload_model()
        del self._whisper
        gc.collect()
        memory.give_back()

    def _features(self, samples: np.ndarray) -> np.ndarray:
        features = self._whisper.feature_extractor(samples.astype(np.float32) / 32768)
        return features[:, :-1]  # the last is not of the sound

    def _hear(self, features: np.ndarray, options: Options) -> Result:
        """One window. Encoded once, whatever is made of it."""
        frames = features.shape[1]
        look_up(options)
        shown = windows.fitting(frames) if self._hears_short_windows else FULL_FRAMES
        encoded = self._whisper.encode(windows.padded(features, shown))
        look_up(options)
        language, language_probability = self._language_of(encoded)
        tokenizer = self._tokenizer(language)
        generate = partial(self._generate, encoded, tokenizer, options.previous_text, frames)
        guess = best_guess(generate, 1 if options.is_interim else self._settings.beam_size)
        look_up(options)
        return Result(
            text=guess.text,
            words=self._words(encoded, tokenizer, guess, frames)
            if self._settings.word_timestamps or options.is_interim
            else (),
            language=language,
            language_probability=language_probability,
            avg_logprob=guess.avg_logprob,
            no_speech_prob=guess.no_speech_prob,
            compression_ratio=compression_ratio(guess.text) if guess.text else 0.0,
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
        previous_text: str,
        frames: int,
        *,
        beam_size: int,
        temperature: float,
        with_previous: bool,
    ) -> Guess:
        prompt = self._prompt(tokenizer, previous_text if with_previous else "")
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
        avg_logprob = generated.scores[0] * len(tokens) / (len(tokens) + 1)  # the end is a token too
        return Guess(tokens, tokenizer.decode(tokens), avg_logprob, generated.no_speech_prob)

    def _prompt(self, tokenizer: Tokenizer, previous_text: str) -> list[int]:
        previous = f"{self._settings.initial_prompt} {previous_text}".strip()
        return self._whisper.get_prompt(
            tokenizer,
            tokenizer.encode(f" {previous}") if previous else [],
            without_timestamps=True,  # vad has cut the sound: timestamp tokens would only cost time
            hotwords=self._settings.hotwords or None,
        )

    def _max_length(self, prompted: int, frames: int) -> int:
        """CTranslate2 takes half of it, and what the prompt leaves, for new tokens."""
        new = FREE_TOKENS + MAX_TOKENS_PER_S * frames // FRAMES_PER_S
        return min(self._whisper.max_length, max(2 * new, prompted + new))

    def _words(
        self, encoded: ctranslate2.StorageView, tokenizer: Tokenizer, guess: Guess, frames: int
    ) -> tuple[Word, ...]:
        segment = {"seek": 0, "start": 0.0, "end": frames / FRAMES_PER_S, "tokens": guess.tokens}
        self._whisper.add_word_timestamps([[segment]], tokenizer, encoded, max(2, frames), BEFORE_WORD, AFTER_WORD, 0.0)
        return tuple(
            Word(
                word=word["word"],
                start_s=float(word["start"]),
                end_s=float(word["end"]),
                probability=float(word["probability"]),
            )
            for word in segment["words"]
        )

    def _hears_the_same_in_a_short_window(self) -> bool:
        """Measured: the weights only claim to."""
        with files(__package__).joinpath("sample.wav").open("rb") as file, wave.open(file) as sample:
            features = self._features(np.frombuffer(sample.readframes(sample.getnframes()), "<i2"))
        padded = self._hear(features, Options()).text
        self._hears_short_windows = True
        short = self._hear(features, Options()).text
        if padded and padded == short:
            return True
        log.warning("%s hears %r in a short window and %r in a long one: using long ones", self.model, short, padded)
        return False


def _open(directory: str, settings: TranscribeSettings) -> WhisperModel:
    device = _device(settings)
    if not Path(directory, "tokenizer.json").is_file():  # faster-whisper would ask the hub for another one
        raise ConfigError(f"the model in {directory} cannot be used: it has no tokenizer.json")
    try:
        return WhisperModel(
            directory,
            device=device,
            compute_type=_compute_type(settings, device),
            cpu_threads=settings.cpu_threads or max(1, len(os.sched_getaffinity(0)) // settings.workers),
        )
    except Exception as error:
        if device == "cuda":  # out of memory, or a driver that is not up yet
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
    known = whisper.supported_languages
    if settings.language and settings.language not in known:
        hint = nearest(settings.language, known) if len(known) > 1 else "; it knows English only"
        raise ConfigError(f"transcribe.language: {settings.model} does not know {settings.language}{hint}")
    return settings.language or None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
