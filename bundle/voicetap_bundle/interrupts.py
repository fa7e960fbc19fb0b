"""Ctrl-C and SIGTERM as a request to a bundle, at any stage of its life."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .box import Bundle


@contextmanager
def stopping(box: Bundle) -> Iterator[None]:
    """While it lasts, a signal asks `box` to stop in order, and a second one to stop at once.

    No exception is raised anywhere: whoever listens to the box sees it end, and with it the last words.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}  # nohup
    for number in before:
        signal.signal(number, lambda *_: box.ask_to_stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
