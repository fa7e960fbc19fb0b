"""The journal service: `python -m voicetap_journal`, the one process that commits and publishes transcripts."""

from pathlib import Path

from voicetap.service.node import Node, run
from voicetap.settings import Settings
from voicetap.vocabulary import ServiceState

from .service import JournalService
from .store import Store


def main(settings: Settings) -> None:
    data_dir = settings.journal.data_dir
    with (
        Node("journal", settings) as node,
        Store(Path(data_dir or settings.runtime_dir), durable=bool(data_dir)) as store,
    ):
        service = JournalService(node, store, settings.journal)
        node.state = ServiceState.READY
        while node.alive():
            node.wait(0 if service.turn() else service.wait_s())
        service.drain()


if __name__ == "__main__":
    run("journal", main)
