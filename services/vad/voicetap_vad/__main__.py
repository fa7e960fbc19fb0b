"""`python -m voicetap_vad`: finds speech in the frames and sends each utterance to a transcriber.

With `--segments` it prints the segment stores as JSON instead, for `voicetap audit`.
"""

import argparse
import json
import logging
import sqlite3
import sys
from contextlib import ExitStack
from pathlib import Path

from voicetap import config
from voicetap.service.node import Node, run
from voicetap.settings import Settings

log = logging.getLogger("vad")


def main() -> None:
    parser = argparse.ArgumentParser(prog="voicetap_vad", description=__doc__)
    parser.add_argument("--segments", action="store_true", help="print the segment stores as JSON")
    if parser.parse_args().segments:
        print_segments()
    else:
        run("vad", run_service)


def run_service(settings: Settings) -> None:
    from .service import Service

    with Node("vad", settings) as node, ExitStack() as stack:
        try:
            Service(node, stack).run()
        except sqlite3.OperationalError as error:  # supervisord restarts it, and it resumes at the checkpoints
            log.error("segment store in %s: %s; is the disk full?", settings.runtime_dir, error)
            sys.exit(1)


def print_segments() -> None:
    from .segment_store import read_all

    stores = read_all(Path(config.load().runtime_dir))
    print(json.dumps(stores))  # noqa: T201  the command's output


if __name__ == "__main__":
    main()
