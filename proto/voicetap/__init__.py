"""voicetap's contract: messages, sockets, settings, and the Tap that apps read transcripts with.

Importing this package imports neither zmq nor msgpack: a service sets its parent-death signal
before anything slow, and that needs `voicetap.service.launch` to be cheap.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tap import Tap

__all__ = ["Tap"]


def __getattr__(name: str) -> object:
    if name == "Tap":
        from .tap import Tap

        return Tap
    raise AttributeError(f"module 'voicetap' has no attribute {name!r}")
