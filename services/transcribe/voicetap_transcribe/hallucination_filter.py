"""Removes what recognisers invent in silence, noise and loops. Pure: text and numbers in, text and a reason out."""

import re
import zlib
from dataclasses import dataclass, replace

from voicetap.messages import Reason, Word
from voicetap.sanitize import sanitize

from .engines.base import Result

NO_SPEECH_PROB, NO_SPEECH_LOGPROB = 0.6, -1.0  # Whisper's own rule: both together
CERTAIN_NO_SPEECH_PROB, UNCERTAIN_LOGPROB = 0.9, -0.5  # drops one of 60 sentences in noise of 10 dB
SHORT_AUDIO_S = 1.6  # less than a second of speech with pre-roll and tail; noise is most often decoded as words here
SHORT_NO_SPEECH_PROB, SHORT_NO_SPEECH_LOGPROB = 0.45, -0.7
PHANTOM_NO_SPEECH_PROB, PHANTOM_LOGPROB = 0.3, -0.5  # either one is enough for a phantom phrase
PHANTOMS = frozenset(  # what Whisper has learned to write for audio without speech
    (
        "you",
        "bye",
        "so",
        "thank you",
        "thanks for watching",
        "thank you for watching",
        "thank you very much",
        "please subscribe",
        "music",
        "applause",
        "laughter",
        "silence",
    )
)
MAX_COMPRESSION_RATIO = 2.4
LOOP_REPEATS = 4
LOOP_REPEATS_OF_ONE_WORD = 6  # speakers do say "no no no no", and spell "0 0 0 0"
LOOP_MAX_WORDS = 12
MAX_WORDS_PER_S = 8.0  # faster than any speaker
FREE_WORDS = 4  # beyond the rate, for very short audio
MAX_LETTERS_PER_S = 50.0  # for languages without spaces between words, and for a single endless word
FREE_LETTERS = 100
MAX_TIMED_WORDS = 4000  # journal refuses entries with more than 4096, so they would be sent again forever


@dataclass(frozen=True)
class FilteredResult:
    """What may be published. `reason` says why that is less than the engine's text; it is empty if nothing is wrong."""

    text: str
    words: tuple[Word, ...]
    reason: str = ""


def filter_result(result: Result, audio_s: float) -> FilteredResult:
    """The verdict of the first check that fails. What passes fits into an entry."""
    filtered = _filter(result, audio_s)
    max_letters = FREE_LETTERS + MAX_LETTERS_PER_S * audio_s
    if len(filtered.text) > max_letters:
        return FilteredResult("", (), Reason.TOO_MANY_WORDS)
    fits = len(filtered.words) <= MAX_TIMED_WORDS and sum(len(word.word) for word in filtered.words) <= max_letters
    return filtered if fits else replace(filtered, words=())


def _filter(result: Result, audio_s: float) -> FilteredResult:
    text = sanitize(result.text)
    words = tuple(replace(word, word=text_) for word in result.words if (text_ := sanitize(word.word)))
    if not normalized(text) or _is_no_speech(result, audio_s) or _is_phantom(text, result):
        return FilteredResult("", (), Reason.NO_SPEECH)
    if (kept := loop_start(text.split())) is not None:
        return _first_words(text, words, kept)
    if compression_ratio(text) > MAX_COMPRESSION_RATIO:
        return FilteredResult("", (), Reason.COMPRESSION_RATIO)
    if len(text.split()) > FREE_WORDS + MAX_WORDS_PER_S * audio_s:
        return FilteredResult("", (), Reason.TOO_MANY_WORDS)
    return FilteredResult(text, words)


def loop_start(words: list[str]) -> int | None:
    """How many words to keep so that a repeated phrase occurs once. None when nothing repeats."""
    plain = [normalized(word) for word in words]
    for start in range(len(plain)):
        for length in range(1, LOOP_MAX_WORDS + 1):
            repeats = LOOP_REPEATS if length > 1 else LOOP_REPEATS_OF_ONE_WORD
            if plain[start : start + length] * repeats == plain[start : start + length * repeats]:
                return start + length
    return None


def compression_ratio(text: str) -> float:
    """Length over zlib-compressed length. Loops compress well."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def normalized(text: str) -> str:
    """Letters and digits only, in lower case."""
    return re.sub(r"\W+", "", text).lower()


def _is_no_speech(result: Result, audio_s: float) -> bool:
    if result.no_speech_prob > NO_SPEECH_PROB and result.avg_logprob < NO_SPEECH_LOGPROB:
        return True
    if result.no_speech_prob > CERTAIN_NO_SPEECH_PROB and result.avg_logprob < UNCERTAIN_LOGPROB:
        return True
    is_doubtful = result.no_speech_prob > SHORT_NO_SPEECH_PROB and result.avg_logprob < SHORT_NO_SPEECH_LOGPROB
    return is_doubtful and audio_s < SHORT_AUDIO_S


def _is_phantom(text: str, result: Result) -> bool:
    """Speakers do say these phrases, so one more sign of missing speech is required."""
    is_doubtful = result.no_speech_prob > PHANTOM_NO_SPEECH_PROB or result.avg_logprob < PHANTOM_LOGPROB
    return is_doubtful and " ".join(normalized(word) for word in text.split()) in PHANTOMS


def _first_words(text: str, words: tuple[Word, ...], kept: int) -> FilteredResult:
    """Cut after `kept` words. Engines may split words elsewhere than at spaces, so timed words are cut by letters."""
    letters_left = sum(map(len, (pieces := text.split()[:kept])))
    kept_words = []
    for word in words:
        letters_left -= len(word.word.replace(" ", ""))
        if letters_left < 0:
            break
        kept_words.append(word)
    return FilteredResult(" ".join(pieces), tuple(kept_words), Reason.REPETITION)
