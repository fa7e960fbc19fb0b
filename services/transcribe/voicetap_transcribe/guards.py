"""Tells speech from what a recogniser makes up in silence and in loops. Pure: text and numbers in, verdict out."""

import re
import unicodedata
import zlib
from dataclasses import dataclass, replace

from voicetap.messages import Word

from .engine import Result

NO_SPEECH_PROB, NO_SPEECH_LOGPROB = 0.6, -1.0  # Whisper's own rule: both together
SURELY_NO_SPEECH_PROB, UNSURE_LOGPROB = 0.9, -0.5  # of 60 sentences in noise of 10 dB this drops one
SHORT_AUDIO_S = 1.6  # less than a second of speech, pre-roll and tail included: here noise is taken for words most
SHORT_NO_SPEECH_PROB, SHORT_NO_SPEECH_LOGPROB = 0.45, -0.7
PHANTOM_NO_SPEECH_PROB, PHANTOM_LOGPROB = 0.3, -0.5  # either, for what Whisper learned to write where nobody speaks
PHANTOMS = frozenset(
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
LOOP_REPEATS_OF_ONE_WORD = 6  # people do say "no no no no", and spell "0 0 0 0"
LOOP_MAX_WORDS = 12
MAX_WORDS_PER_S = 8.0  # of sound; nobody speaks that fast
FREE_WORDS = 4  # beyond the rate, for very short sound
MAX_LETTERS_PER_S = 50.0  # where words are not written apart, and for one word without end
FREE_LETTERS = 100
MAX_TIMED_WORDS = 4000  # journal refuses an entry with more than 4096, and it would be sent for ever
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Verdict:
    """What may be published, and why it is less than the engine said; an empty reason finds no fault."""

    text: str
    words: tuple[Word, ...]
    reason: str = ""


def judge(result: Result, audio_s: float) -> Verdict:
    """The first guard that objects decides; whatever passes fits into an entry."""
    verdict = _judge(result, audio_s)
    if len(verdict.text) > (letters := FREE_LETTERS + MAX_LETTERS_PER_S * audio_s):
        return Verdict("", (), "too_many_words")
    fit = len(verdict.words) <= MAX_TIMED_WORDS and sum(len(word.word) for word in verdict.words) <= letters
    return verdict if fit else replace(verdict, words=())


def _judge(result: Result, audio_s: float) -> Verdict:
    text = clean(result.text)
    words = tuple(replace(word, word=text_) for word in result.words if (text_ := clean(word.word)))
    if not plain(text) or _is_no_speech(result, audio_s) or _is_phantom(text, result):
        return Verdict("", (), "no_speech")
    if (kept := loop_start(text.split())) is not None:
        return _cut(text, words, kept)
    if compression_ratio(text) > MAX_COMPRESSION_RATIO:
        return Verdict("", (), "compression_ratio")
    if len(text.split()) > FREE_WORDS + MAX_WORDS_PER_S * audio_s:
        return Verdict("", (), "too_many_words")
    return Verdict(text, words)


def clean(text: str) -> str:
    """Without what could steer a terminal or break a line: control characters and lone surrogates."""
    kept = (" " if _is_control(character) else character for character in text)
    return " ".join("".join(kept).split())


def loop_start(words: list[str]) -> int | None:
    """How many words to keep so that a repeated phrase is there once; None when nothing repeats."""
    spoken = [plain(word) for word in words]
    for start in range(len(spoken)):
        for length in range(1, LOOP_MAX_WORDS + 1):
            needed = LOOP_REPEATS if length > 1 else LOOP_REPEATS_OF_ONE_WORD
            if spoken[start : start + length] * needed == spoken[start : start + length * needed]:
                return start + length
    return None


def compression_ratio(text: str) -> float:
    """How much zlib shortens the text: loops shorten well."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def _is_no_speech(result: Result, audio_s: float) -> bool:
    if result.no_speech_prob > NO_SPEECH_PROB and result.avg_logprob < NO_SPEECH_LOGPROB:
        return True
    if result.no_speech_prob > SURELY_NO_SPEECH_PROB and result.avg_logprob < UNSURE_LOGPROB:
        return True
    doubtful = result.no_speech_prob > SHORT_NO_SPEECH_PROB and result.avg_logprob < SHORT_NO_SPEECH_LOGPROB
    return doubtful and audio_s < SHORT_AUDIO_S


def _is_phantom(text: str, result: Result) -> bool:
    """People do say these, so it takes a sign that nobody did."""
    doubtful = result.no_speech_prob > PHANTOM_NO_SPEECH_PROB or result.avg_logprob < PHANTOM_LOGPROB
    return doubtful and " ".join(plain(word) for word in text.split()) in PHANTOMS


def plain(text: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"\W+", "", text).lower()


def _cut(text: str, words: tuple[Word, ...], kept: int) -> Verdict:
    """The first `kept` words; an engine's words need not be those between spaces, so letters are counted."""
    letters_left = sum(map(len, (pieces := text.split()[:kept])))
    kept_words = []
    for word in words:
        letters_left -= len(word.word.replace(" ", ""))
        if letters_left < 0:
            break
        kept_words.append(word)
    return Verdict(" ".join(pieces), tuple(kept_words), "repetition")


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS
