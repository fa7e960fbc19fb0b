"""One rule for every text that is published: safe to print on a terminal, on one line, of bounded length.

C0 and C1 controls, line and paragraph separators, bidirectional embeddings, overrides and isolates, and lone
surrogates become white space. Left-to-right and right-to-left marks, which occur inside words, are removed. Runs of
white space become one space; none is left at either end.
"""

import dataclasses
import re
from typing import Any, TypeVar, cast

from .messages import Final, Word

MAX_TEXT = 20_000  # characters; a minute of the fastest speech has 2,000
MAX_LABEL = 200  # characters of names, reasons and other short fields
_LONG_FIELDS = ("text", "committed_text", "detail")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKS = re.compile("[\u200e\u200f]")

T = TypeVar("T")


def sanitize(text: str, max_characters: int | None = None) -> str:
    """`text` after the rule above, cut to `max_characters`."""
    return " ".join(_CONTROLS.sub(" ", _MARKS.sub("", text)).split())[:max_characters].rstrip()


def sanitize_message(message: T) -> T:
    """A copy of the message with every `str` field sanitized, and the words of a Final."""
    fields = dataclasses.fields(cast(Any, message))
    texts = {field.name: value for field in fields if isinstance(value := getattr(message, field.name), str)}
    changes: dict[str, object] = {name: _sanitized(name, text) for name, text in texts.items()}
    if isinstance(message, Final) and message.words:
        changes["words"] = tuple(_sanitized_word(word) for word in message.words)
    copy: T = dataclasses.replace(cast(Any, message), **changes)
    return copy


def _sanitized_word(word: Word) -> Word:
    return dataclasses.replace(word, word=_sanitized("word", word.word))


def _sanitized(name: str, text: str) -> str:
    return sanitize(text, MAX_TEXT if name in _LONG_FIELDS else MAX_LABEL)
