"""The services as processes of the simulation: their own work loops, with what they stand on replaced."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from voicetap import links
from voicetap.messages import AudioFrame, Failed, Final, Gap
from voicetap.service import shutdown
from voicetap.tap import Tap, TapMessage
from voicetap_capture.ring import Ring
from voicetap_capture.service import Service as CaptureService
from voicetap_journal.service import JournalService
from voicetap_journal.store import Store
from voicetap_transcribe.worker import WorkerService
from voicetap_vad.service import Service as VadService
from voicetap_watchdog.judge import Beat, Judge, Kill, Listed, Start, Tick

from . import device
from .decoder import Decoder

if TYPE_CHECKING:
    from .process import Process
    from .world import App, Source

POLL_S = 0.25  # more often than the judge calls late
ENTRIES = (Final, Failed, Gap)


class Capture:
    def __init__(self, process: "Process", source: "Source"):
        world = process.world
        path = Path(world.directory, f"audio-{source.name}.ring")
        ring = WitnessedRing(path, source.name, world.settings.capture.ring_s, origin="")
        ring.__enter__()
        ring.witness, source.stream = world.witness.committed, ring.stream
        process.at_end.append(lambda: ring.__exit__())
        if source.room:
            sound = device.Microphone(source.room, lambda: world.timeline.now_s, world.dice)
        else:
            sound = device.File(source.sound, ring.next_position, world.settings.capture.pace == "realtime")
        self._service = CaptureService(process.node, ring, sound, source.name)
        self._world = world

    def turn(self) -> float:
        self._service.turn()
        return self._service.wait_s()

    def drain(self) -> None:
        self._service.stop(shutdown.is_stopping(self._world.directory))


class WitnessedRing(Ring):
    """Tells what it has committed."""

    witness: Callable[[AudioFrame], None]

    def commit(self, frame: AudioFrame) -> None:
        super().commit(frame)
        self.witness(frame)


class Vad:
    def __init__(self, process: "Process"):
        stack = ExitStack()
        process.at_end.append(stack.close)
        process.node.state = "ready"
        self._process = process
        self.service = VadService(process.node, stack)
        self.drain = self.service.drain

    def turn(self) -> float:
        self.service.turn()
        if (rest_s := self.service.rest_s()) > 0:
            self._process.rest(rest_s)
        return self.service.wait_s()


class Transcribe:
    def __init__(self, process: "Process"):
        self._worker = WorkerService(process.node, Decoder(process, process.world.engine))
        self.drain = self._worker.drain

    def turn(self) -> float:
        self._worker.turn()
        return self._worker.wait_s()


class Journal:
    def __init__(self, process: "Process"):
        persist = process.world.settings.journal.data_dir
        store = Store(Path(process.world.directory), bool(persist))
        store.__enter__()
        self._journal = JournalService(process.node, store, process.world.settings.journal)
        process.node.state = "ready"
        self.drain = self._journal.drain

    def turn(self) -> float:
        return 0 if self._journal.turn() else self._journal.wait_s()


class Watchdog:
    """The judge, with the host's list of processes and the heartbeats; and the hand that kills."""

    def __init__(self, process: "Process"):
        self._world = process.world
        self._judge = Judge(**asdict(process.world.settings.watchdog))
        self._node = process.node
        process.node.state = "ready"
        self._beats = [self._node.receiver(links.HEARTBEAT.of(name)) for name in self._world.host.names()]
        self._next_look_s = 0.0

    def turn(self) -> float:
        now_s = self._world.timeline.now_s
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + 1.0
            self._act(self._judge.step(Listed(self._world.host.listing()), now_s))
        for receiver in self._beats:
            for beat in receiver:
                self._judge.step(Beat(beat.name, beat.pid, beat.state, beat.deadline_ns / 1e9), now_s)
        self._act(self._judge.step(Tick(), now_s))
        return POLL_S

    def drain(self) -> None:
        """Nothing is left to do."""

    def _act(self, effects: list) -> None:
        for effect in effects:
            if isinstance(effect, Kill):
                self._world.host.kill(effect.name, effect.pid)
                self._next_look_s = 0.0
            elif isinstance(effect, Start):
                self._world.host.start(effect.name)


class Reader:
    """An app that keeps every entry, and where to go on, together."""

    def __init__(self, process: "Process", app: "App"):
        self._app = app
        self._process = process
        process.node.state = "ready"
        world = process.world
        self._tap = Tap(app.next_seq, interims=world.scenario.interims, events=True, settings=world.settings)
        self._tap.journal_id = app.journal_id

    def turn(self) -> float:
        while (heard := self._tap.next(timeout_s=0)) is not None:
            self._process.step()
            self._keep(heard)
        return POLL_S

    def drain(self) -> None:
        """It keeps what it has heard."""

    def _keep(self, heard: TapMessage) -> None:
        if not isinstance(heard, ENTRIES):
            return self._process.world.witness.heard(heard)
        if heard.journal_seq:
            self._app.journal_id, self._app.next_seq = self._tap.journal_id, heard.journal_seq + 1
        kept = self._app.kept
        for place, entry in enumerate(kept):
            if entry.utterance_id == heard.utterance_id and not entry.journal_seq:
                kept[place] = heard  # a reader before us had it when journal's disk was full
                return
        kept.append(heard)


def reader_bus(process_of: Callable[[], "Process"]) -> type:
    """Stands in for voicetap.bus.Bus in the tap: the sockets of the process that runs."""

    class Bus:
        def __init__(self, service: str, settings: object):
            self._node = process_of().node

        def __enter__(self) -> "Bus":
            self.sender, self.receiver, self.wait = self._node.sender, self._node.receiver, self._node.wait
            return self

        def __exit__(self, *exc: object) -> None:
            """The sockets end with the process."""

    return Bus
