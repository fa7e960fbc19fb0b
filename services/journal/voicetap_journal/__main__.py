"""`python -m voicetap_journal`: the one address at which transcripts are published."""

from pathlib import Path

from voicetap.service import node
from voicetap.service.node import Node
from voicetap.settings import Settings

from .journal import Journal
from .store import Store


def serve(settings: Settings) -> None:
    persist = settings.journal.data_dir
    with Node("journal", settings) as here, Store(Path(persist or settings.runtime_dir), bool(persist)) as store:
        journal = Journal(here, store, settings.journal)
        here.state = "ready"
        while here.alive():
            here.wait(0 if journal.turn() else journal.wait_s())
        journal.drain()


def main() -> None:
    node.run("journal", serve)


if __name__ == "__main__":
    main()
