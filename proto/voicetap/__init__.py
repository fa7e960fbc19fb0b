"""voicetap's contract: messages, sockets, settings, and the Tap that apps read transcripts with.

`from voicetap import Tap, Final, Failed, Gap` is all that most apps need. Every name is imported on first use:
importing this package imports neither zmq nor msgpack, so that `voicetap.service.launch` can set a service's
parent-death signal before anything slow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .async_tap import AsyncTap
    from .codec import UtteranceId
    from .messages import Entry, Failed, Final, Gap, Interim, SpeechStarted, SpeechStopped, Status, Word
    from .tap import Tap

__all__ = [
    "AsyncTap",
    "Entry",
    "Failed",
    "Final",
    "Gap",
    "Interim",
    "SpeechStarted",
    "SpeechStopped",
    "Status",
    "Tap",
    "UtteranceId",
    "Word",
]
_MODULES = {"AsyncTap": "async_tap", "Tap": "tap", "UtteranceId": "codec"}  # all others are in messages


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES.get(name, 'messages')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
