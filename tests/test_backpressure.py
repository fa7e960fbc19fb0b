"""One service is slow or stopped: memory stays bounded, and utterances that are failed for it are counted."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import processes, speech, verification, world
from rig.collector import TapCollector
from rig.fault_run import SMALL_RING, SMALL_RING_S
from rig.journal import collect
from rig.processes import eventually
from rig.sample_messages import final
from rig.vad import VadPeers, silent, spoken
from voicetap import Tap, links
from voicetap.bus import Bus
from voicetap.messages import Failed
from voicetap.vocabulary import Reason
from voicetap_bundle import Bundle

MIB = 1 << 20
MAX_GROWTH_MIB = 12  # of a process that holds nothing but its bounded queues

needs_flite = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")


@pytest.fixture
def bundle(tmp_path: Path, runtime_dir: Path, monkeypatch) -> Callable[..., tuple[Bundle, world.World]]:
    """`bundle(sentences, decode_s)`: a ring of ten seconds, a file at the pace of vad, long watchdog timeouts."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import the coded engine from there

    def create(sentences: int, decode_s: float) -> tuple[Bundle, world.World]:
        played = world.build(tmp_path, sentences)
        box = Bundle(
            f"file:{played.path}",
            engine="rig.coded:CodedEngine",
            model=str(decode_s),
            pace="max",
            runtime_dir=str(runtime_dir),
            settings=SMALL_RING | {"watchdog.heartbeat_timeout_s": 60},
        )
        return box, played

    return create


class MemoryMeter:
    """How much the processes of a bundle have grown since the first measurement of each."""

    def __init__(self, runtime_dir: Path):
        self._runtime_dir = runtime_dir
        self._first: dict[int, int] = {}
        self._growth_mib: dict[str, float] = {}  # the maximum

    def measure(self) -> None:
        for process in processes.processes_of(self._runtime_dir):
            rss = process.memory_info().rss
            grown = (rss - self._first.setdefault(process.pid, rss)) / MIB
            name = " ".join(process.cmdline()[-2:])
            self._growth_mib[name] = max(grown, self._growth_mib.get(name, 0.0))

    def excessive(self) -> dict[str, float]:
        """The processes that have grown by more than MAX_GROWTH_MIB."""
        return {name: grown for name, grown in self._growth_mib.items() if grown > MAX_GROWTH_MIB}


def collect_all(box: Bundle, memory: MemoryMeter, within_s: float) -> list:
    """The messages until everything is drained and half a second passes without one."""
    with box.tap(since=1) as tap:
        collector = TapCollector(tap)
        collector.until(lambda: memory.measure() or box.is_drained(), "all to be drained", within_s)
        collector.poll(0.5)
    return collector.messages


@needs_flite
def test_a_slow_transcriber_delays_a_file_and_loses_nothing(bundle, runtime_dir):
    """Forty seconds of sound through a ring of ten."""
    box, played = bundle(16, 0.3)
    memory = MemoryMeter(runtime_dir)
    with box:
        entries = collect_all(box, memory, 50)
        assert memory.excessive() == {}
    assert verification.violations(played, entries) == []


@needs_flite
def test_a_journal_that_is_stopped_for_seconds_delays_all_and_loses_nothing(bundle, runtime_dir):
    box, played = bundle(12, 0.3)  # with a faster worker all could be done before journal is stopped
    memory = MemoryMeter(runtime_dir)
    with box:
        eventually(lambda: box.is_drained() or box.position_s() > 0, 10, "vad to have received a head of journal")
        [journal] = [service["pid"] for service in box.status()["services"] if service["name"] == "journal"]
        os.kill(journal, signal.SIGSTOP)
        eventually(
            lambda: memory.measure() or not box.is_drained() and box.position_s() > SMALL_RING_S / 2, 20, "a full ring"
        )
        stuck_until_s = time.monotonic() + 3.0
        while time.monotonic() < stuck_until_s:
            memory.measure()
            assert not box.is_drained() and box.position_s() <= played.seconds / 2, "the file waits for journal"
        os.kill(journal, signal.SIGCONT)
        entries = collect_all(box, memory, 30)
        assert memory.excessive() == {}
    assert verification.violations(played, entries) == []


def test_a_microphone_faster_than_the_workers_loses_its_oldest_utterances_and_counts_them(spawn, settings, runtime_dir):
    """A microphone cannot be delayed: utterances that the ring no longer holds are failed."""
    with VadPeers(settings, workers=("w1",)) as peers:
        peers.workers["w1"].answers = False  # it decodes the first for ever
        spawn("voicetap_vad", **{name.replace(".", "_"): value for name, value in SMALL_RING.items()})
        memory = MemoryMeter(runtime_dir)
        peers.run_until(lambda: peers.needed_seq >= 0 and memory.measure() is None, "vad is ready")
        for _ in range(20):  # of two seconds and a pause each
            peers.play(spoken() + silent(40))
        peers.run_until(
            lambda: peers.heartbeat and [source.failed for source in peers.heartbeat.sources] == [17],
            "the failed utterances to be counted",
        )
        memory.measure()
        assert memory.excessive() == {}
        failed = [entry for entry in peers.entries.values() if isinstance(entry, Failed)]
        assert {entry.reason for entry in failed} == {Reason.OVERRUN}
        assert [entry.utterance_id.number for entry in failed] == list(range(1, 18)), "three fit into ten seconds"


def test_a_tap_that_never_reads_costs_journal_no_more_than_its_queue(spawn, runtime_dir, settings):
    spawn("voicetap_journal")
    memory = MemoryMeter(runtime_dir)
    with Bus("vad", settings) as bus, Tap(since=1, settings=settings) as tap, Tap(settings=settings) as idle:
        results, commits = bus.sender(links.RESULTS), bus.receiver(links.COMMITS)
        for start in (1, 2501, 5001):  # each time more than a queue holds
            for number in range(start, start + 2500):
                while not results.send(final(number, "x" * 4000)):
                    list(commits)
            assert [entry.journal_seq for entry in collect(tap, 2500)] == list(range(start, start + 2500))
            memory.measure()  # the first time with all queues full
        assert memory.excessive() == {}
        assert idle.next(timeout_s=0) is not None, "what its queue held"
