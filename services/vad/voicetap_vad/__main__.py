"""`python -m voicetap_vad`: finds speech in the frames and hands each utterance to a transcriber.

With `--cuts` it prints the cut lists there are as JSON instead, for `voicetap audit`.
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
    parser.add_argument("--cuts", action="store_true", help="print the cut lists as JSON")
    if parser.parse_args().cuts:
        print_cuts()
    else:
        run("vad", listen)


def listen(settings: Settings) -> None:
    from .service import Service

    with Node("vad", settings) as node, ExitStack() as stack:
        try:
            Service(node, stack).run()
        except sqlite3.OperationalError as error:  # restarted, it goes on where the list ends
            log.error("cut list in %s: %s; is the disk full?", settings.runtime_dir, error)
            sys.exit(1)


def print_cuts() -> None:
    from .cutlist import look_at_all

    cuts = look_at_all(Path(config.load().runtime_dir))
    print(json.dumps(cuts))  # noqa: T201  the command's answer


if __name__ == "__main__":
    main()
