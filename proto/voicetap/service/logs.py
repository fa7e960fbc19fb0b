"""Log lines of a service: short, on stderr, and never a reason to wait."""

import logging
import os
import stat
import sys


class _NeverWaits(logging.StreamHandler):
    """Drops a line when the pipe is full: a frozen supervisord must not freeze its children."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BlockingIOError):
            super().handleError(record)


def set_up(name: str, level: str) -> None:
    """Call once per process. `name` starts every line."""
    if stat.S_ISFIFO(os.fstat(2).st_mode):  # supervisord's pipe, ours alone; a terminal is shared with a shell
        os.set_blocking(2, False)
    handler = _NeverWaits(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name} %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
