"""Text that may be shown anywhere: what a model or a forger wrote must not reach a terminal as control codes."""

import dataclasses
import re

from voicetap.messages import Final, Word

MAX_TEXT = 20_000  # characters; a minute of the fastest speech has 2,000
MAX_LABEL = 200  # of names, reasons and the like
_SPACES = re.compile(r"\s+")
# C0 and C1 controls that are no space, the marks that turn the direction of what follows, and halves of characters
_UNSHOWABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_FIELDS = ("text", "committed_text", "detail")


def clean(message: object) -> object:
    """The same message with every text in it safe and of bounded length."""
    changes = {
        field.name: _cleaned(field.name, value)
        for field in dataclasses.fields(message)
        if isinstance(value := getattr(message, field.name), str)
    }
    if isinstance(message, Final) and message.words:
        changes["words"] = tuple(_clean_word(word) for word in message.words)
    return dataclasses.replace(message, **changes)


def _clean_word(word: Word) -> Word:
    return dataclasses.replace(word, word=_cleaned("word", word.word))


def _cleaned(name: str, text: str) -> str:
    return _SPACES.sub(" ", _UNSHOWABLE.sub("", text))[: MAX_TEXT if name in _LONG_FIELDS else MAX_LABEL]
