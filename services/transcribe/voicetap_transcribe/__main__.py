"""The transcribe service: `python -m voicetap_transcribe [NUMBER]`, one process per worker."""

import faulthandler
import logging
import os
import sys
import threading

from voicetap.errors import ConfigError
from voicetap.service.node import Node, run
from voicetap.settings import Settings

from . import malloc_tuning
from .decoder import Decoder
from .worker import DecodeTimeout, WorkerService

log = logging.getLogger("transcribe")


def main(settings: Settings) -> None:
    number = worker_number(sys.argv[1:])
    malloc_tuning.keep_freed_memory()
    try:
        with Decoder(settings) as decoder, Node("transcribe", settings, number) as node:
            WorkerService(node, decoder).run()
    except DecodeTimeout as error:
        log.error("%s", error)
        faulthandler.dump_traceback()
        os._exit(os.EX_SOFTWARE)
    if threading.active_count() > 1:  # all is closed; a normal exit would wait for a decode or download, or crash in it
        os._exit(os.EX_OK)


def worker_number(arguments: list[str]) -> int:
    """The only argument; 1 without one. Raises ConfigError."""
    text = "".join(arguments) or "1"
    if len(arguments) > 1 or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 32:
        raise ConfigError(f"the number of a worker is 1 to 32, not {' '.join(arguments)}")
    return int(text)


if __name__ == "__main__":
    run("transcribe", main)
