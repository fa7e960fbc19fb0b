"""The services as processes of the simulation: their own code, in the work loops of their `__main__`."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from voicetap import links
from voicetap.messages import AudioFrame, Failed, Final, Gap
from voicetap.service import shutdown
from voicetap.tap import Tap, TapMessage
from voicetap_capture.ring import Ring, ring_path
from voicetap_capture.service import CaptureService
from voicetap_journal.service import JournalService
from voicetap_journal.store import Store
from voicetap_transcribe.worker import WorkerService
from voicetap_vad.service import Service as VadService
from voicetap_watchdog.liveness import Abort, HeartbeatReceived, Kill, LivenessMonitor, ProcessList, Start, Tick

from . import device
from .decoder import Decoder

if TYPE_CHECKING:
    from .process import Process
    from .world import App, SimulatedSource

POLL_S = 0.25  # within the watchdog's LATE_S
ENTRIES = (Final, Failed, Gap)


class Capture:
    def __init__(self, process: "Process", source: "SimulatedSource"):
        world = process.world
        path = ring_path(world.directory, source.name)
        ring = WitnessedRing(path, source.name, world.settings.capture.ring_s, origin="")
        ring.__enter__()
        source.stream = ring.stream
        process.exit_callbacks.append(lambda: ring.__exit__())
        if source.room:
            sound = device.Microphone(source.room, lambda: world.timeline.now_s, world.dice)
        else:
            sound = device.File(source.sound, ring.next_position, world.settings.capture.pace == "realtime")
        ring.on_commit = lambda frame: world.witness.on_frame_committed(frame, sound.read_s)
        self._service = CaptureService(process.node, ring, sound, source.name)
        self._world = world

    def turn(self) -> float:
        self._service.step()
        return self._service.wait_s()

    def drain(self) -> None:
        self._service.shutdown(shutdown.is_stopping(self._world.directory))


class WitnessedRing(Ring):
    """Calls `on_commit` with every frame."""

    on_commit: Callable[[AudioFrame], None]

    def commit(self, frame: AudioFrame) -> None:
        super().commit(frame)
        self.on_commit(frame)


class Vad:
    def __init__(self, process: "Process"):
        stack = ExitStack()
        process.exit_callbacks.append(stack.close)
        process.node.state = "ready"
        self._process = process
        self.service = VadService(process.node, stack)
        self.drain = self.service.drain

    def turn(self) -> float:
        self.service.step()
        if (sleep_s := self.service.sleep_s()) > 0:
            self._process.sleep(sleep_s)
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
    """A LivenessMonitor with the host's list of processes and the heartbeats; its kills are the host's."""

    def __init__(self, process: "Process"):
        self._world = process.world
        self._monitor = LivenessMonitor(**asdict(process.world.settings.watchdog))
        self._node = process.node
        process.node.state = "ready"
        self._beats = [self._node.receiver(links.HEARTBEAT.of(name)) for name in self._world.host.watched_names()]
        self._next_list_s = 0.0

    def turn(self) -> float:
        now_s = self._world.timeline.now_s
        if now_s >= self._next_list_s:
            self._next_list_s = now_s + 1.0
            self._apply(self._monitor.step(ProcessList(self._world.host.processes()), now_s))
        for receiver in self._beats:
            for beat in receiver:
                received = HeartbeatReceived(beat.name, beat.pid, beat.state, beat.deadline_ns / 1e9)
                self._monitor.step(received, now_s)
        self._apply(self._monitor.step(Tick(), now_s))
        return min(POLL_S, self._monitor.wait_s(now_s))

    def drain(self) -> None:
        """Nothing is left to do."""

    def _apply(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, Abort):
                self._world.host.abort(action.name, action.pid)
            elif isinstance(action, Kill):
                self._world.host.kill(action.name, action.pid)
                self._next_list_s = 0.0
            elif isinstance(action, Start):
                self._world.host.start(action.name)


class Reader:
    """An app that stores every entry and its position together."""

    def __init__(self, process: "Process", app: "App"):
        self._app = app
        self._process = process
        process.node.state = "ready"
        world = process.world
        self._tap = Tap(app.next_seq, interims=world.scenario.interims, events=True, settings=world.settings)
        self._tap.journal_id = app.journal_id

    def turn(self) -> float:
        while (message := self._tap.next(timeout_s=0)) is not None:
            self._process.step()
            self._on_message(message)
        return POLL_S

    def drain(self) -> None:
        """Nothing to do: every entry is stored."""

    def _on_message(self, message: TapMessage) -> None:
        if not isinstance(message, ENTRIES):
            return self._process.world.witness.on_live_message(message)
        if message.journal_seq:
            self._app.journal_id, self._app.next_seq = self._tap.journal_id, message.journal_seq + 1
        kept = self._app.kept
        for place, entry in enumerate(kept):
            if entry.utterance_id == message.utterance_id and not entry.journal_seq:
                kept[place] = message  # stored by a former reader while journal's disk was full
                return
        kept.append(message)


def reader_bus(process_of: Callable[[], "Process"]) -> type:
    """Replaces voicetap.bus.Bus in the tap, with the sockets of the process that runs."""

    class Bus:
        def __init__(self, service: str, settings: object):
            self._node = process_of().node

        def __enter__(self) -> "Bus":
            self.sender, self.receiver, self.wait = self._node.sender, self._node.receiver, self._node.wait
            return self

        def __exit__(self, *exc: object) -> None:
            """The sockets are closed when the process exits."""

    return Bus
