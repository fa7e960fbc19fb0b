"""Logging of a service: one line per record on stderr, without ever blocking."""

import logging
import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:  # generic for type checkers only
    _StreamHandler = logging.StreamHandler


class _NonBlockingHandler(_StreamHandler):
    """Drops a line when the pipe is full, so that a frozen supervisord does not freeze its children."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BlockingIOError):
            super().handleError(record)


def set_up(name: str, level: str) -> None:
    """Call once per process. `name` starts every line."""
    if stat.S_ISFIFO(os.fstat(2).st_mode):  # supervisord's pipe, ours alone; a terminal is shared with a shell
        os.set_blocking(2, False)
    handler = _NonBlockingHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name} %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
