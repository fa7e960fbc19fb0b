"""`python -m voicetap_vad`: finds speech in the frames and hands each utterance to a transcriber."""

import logging
import sqlite3
import sys
from contextlib import ExitStack

from voicetap.node import Node, run
from voicetap.settings import Settings

from .service import Service

log = logging.getLogger("vad")


def main(settings: Settings) -> None:
    with Node("vad", settings) as node, ExitStack() as stack:
        try:
            Service(node, stack).run()
        except sqlite3.OperationalError as error:  # restarted, it goes on where the list ends
            log.error("cut list in %s: %s; is the disk full?", settings.runtime_dir, error)
            sys.exit(1)


if __name__ == "__main__":
    run("vad", main)
