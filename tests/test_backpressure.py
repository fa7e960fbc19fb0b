"""Somebody is too slow: memory stays bounded, and what is given up is counted and said."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import judge, processes, speech, world
from rig.journal import collect
from rig.processes import eventually
from rig.said import final
from rig.vad import Neighbours, silent, spoken
from voicetap import Tap, links
from voicetap.bus import Bus
from voicetap.messages import Entry, Failed
from voicetap_bundle import Bundle

MIB = 1 << 20
GROWTH_MIB = 12  # of a process that has nothing to hold but its bounded queues
RING_S = 10  # the smallest there may be

needs_flite = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")


@pytest.fixture
def bundle(tmp_path: Path, runtime_dir: Path, monkeypatch) -> Callable[..., tuple[Bundle, world.World]]:
    """`bundle(sentences, decode_s)` with a ring of ten seconds, a file as fast as vad follows, and patient watchers."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers, where the coded engine is

    def make(sentences: int, decode_s: float, **settings: object) -> tuple[Bundle, world.World]:
        played = world.make(tmp_path, sentences)
        patient = {"capture.ring_s": RING_S, "watchdog.heartbeat_timeout_s": 60, "loop_timeout_s": 60}
        box = Bundle(
            f"file:{played.path}",
            engine="rig.coded:CodedEngine",
            model=str(decode_s),
            pace="max",
            runtime_dir=str(runtime_dir),
            settings=patient | settings,
        )
        return box, played

    return make


class Memory:
    """How much every process of a bundle has grown since the first look."""

    def __init__(self, runtime_dir: Path):
        self._runtime_dir = runtime_dir
        self._first: dict[int, int] = {}
        self.growth_mib: dict[str, float] = {}

    def look(self) -> None:
        for process in processes.processes_of(self._runtime_dir):
            rss = process.memory_info().rss
            grown = (rss - self._first.setdefault(process.pid, rss)) / MIB
            name = " ".join(process.cmdline()[-2:])
            self.growth_mib[name] = max(grown, self.growth_mib.get(name, 0.0))

    def grown(self) -> dict[str, float]:
        """The processes that have grown too much."""
        return {name: grown for name, grown in self.growth_mib.items() if grown > GROWTH_MIB}


def listen_to_the_end(box: Bundle, memory: Memory, entries: list[Entry], within_s: float) -> None:
    with box.tap(since=1) as tap:

        def is_over() -> bool:
            memory.look()
            entries.extend(iter(lambda: tap.next(timeout_s=0.05), None))
            return box.is_drained()

        eventually(is_over, within_s, "all to be drained")
        entries.extend(iter(lambda: tap.next(timeout_s=0.5), None))


@needs_flite
def test_a_slow_transcriber_holds_up_a_file_and_loses_nothing(bundle, runtime_dir):
    """Forty seconds of sound through a ring of ten."""
    box, played = bundle(16, 0.3)
    memory, entries = Memory(runtime_dir), []
    with box:
        listen_to_the_end(box, memory, entries, 50)
        assert memory.grown() == {}
    assert judge.violations(played, entries) == []


@needs_flite
def test_a_journal_that_is_stopped_for_seconds_holds_up_everybody_and_loses_nothing(bundle, runtime_dir):
    box, played = bundle(12, 0.3)  # else it may be through before journal is stopped
    memory, entries = Memory(runtime_dir), []
    with box:
        eventually(lambda: box.is_drained() or box.position_s() > 0, 10, "vad to have heard of journal")
        [journal] = [service["pid"] for service in box.status()["services"] if service["name"] == "journal"]
        os.kill(journal, signal.SIGSTOP)
        eventually(lambda: memory.look() or not box.is_drained() and box.position_s() > RING_S / 2, 20, "a full ring")
        stuck_until_s = time.monotonic() + 3.0
        while time.monotonic() < stuck_until_s:
            memory.look()
            assert not box.is_drained() and box.position_s() <= played.seconds / 2, "the file waits for journal"
        os.kill(journal, signal.SIGCONT)
        listen_to_the_end(box, memory, entries, 30)
        assert memory.grown() == {}
    assert judge.violations(played, entries) == []


def test_a_microphone_that_nobody_can_follow_is_given_up_oldest_first_and_that_is_said(spawn, settings, runtime_dir):
    """A microphone cannot be held up: what is older than the ring is lost."""
    with Neighbours(settings, workers=("w1",)) as around:
        around.workers["w1"].answers = False  # it goes on decoding the first
        spawn("voicetap_vad", capture_ring_s=str(RING_S))
        memory = Memory(runtime_dir)
        around.pump(lambda: around.needed_seq >= 0 and memory.look() is None, "vad listens")
        for _ in range(20):  # of two seconds and a pause each
            around.hear(spoken() + silent(40))
        around.pump(
            lambda: around.beat and [source.failed for source in around.beat.sources] == [17],
            "what was given up is counted",
        )
        memory.look()
        assert memory.grown() == {}
        failed = [entry for entry in around.entries.values() if isinstance(entry, Failed)]
        assert {entry.reason for entry in failed} == {"overrun"}
        assert [entry.utterance_id.number for entry in failed] == list(range(1, 18)), "three fit into ten seconds"


def test_a_tap_that_never_reads_costs_journal_no_more_than_its_queue(spawn, runtime_dir, settings):
    spawn("voicetap_journal")
    memory = Memory(runtime_dir)
    with Bus("vad", settings) as bus, Tap(since=1, settings=settings) as tap, Tap(settings=settings) as deaf:
        results, commits = bus.sender(links.RESULTS), bus.receiver(links.COMMITS)
        for start in (1, 2501, 5001):  # more than a queue holds, each
            for number in range(start, start + 2500):
                while not results.send(final(number, "x" * 4000)):
                    list(commits)
            assert [entry.journal_seq for entry in collect(tap, 2500)] == list(range(start, start + 2500))
            memory.look()  # the first time with all queues full
        assert memory.grown() == {}
        assert deaf.next(timeout_s=0) is not None, "what its queue held"
