"""How a bundle stops and starts again: every utterance up to the stop is published, or reported as not transcribed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import coded, faults, processes, speech, verification, world
from rig.collector import TapCollector
from rig.processes import eventually
from voicetap import Tap
from voicetap.codec import UtteranceId
from voicetap.messages import Failed, Final, SpeechStarted, SpeechStopped
from voicetap_bundle import Bundle
from voicetap_bundle.audit import audit

STOP_S = 6.0  # BUNDLE_STOP_S, and a second for a busy machine

pytestmark = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> world.World:
    return world.build(tmp_path_factory.mktemp("world"), sentences=4)


@pytest.fixture
def bundle(runtime_dir: Path, played, monkeypatch) -> Iterator[Callable[..., Bundle]]:
    """`bundle(decode_s)`: starts a bundle that reads in real time."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the workers, where the coded engine is
    boxes = []

    def start(decode_s: float = 0.05, pace: str = "realtime") -> Bundle:
        source, engine = f"file:{played.path}", "rig.coded:CodedEngine"
        boxes.append(Bundle(source, engine=engine, model=str(decode_s), pace=pace, runtime_dir=str(runtime_dir)))
        return boxes[-1].start()

    yield start
    for box in boxes:
        box.stop()


class ShutdownCollector(TapCollector):
    """Collects what a bundle publishes before and during its stop."""

    def mid_sentence(self) -> UtteranceId:
        """Waits until a sentence has lasted for a second and continues; its id."""
        self.until(
            lambda: (ids := self._open_utterances()) and time.time_ns() > ids[0][1] + 1_000_000_000, "a sentence"
        )
        return self._open_utterances()[0][0]

    def _open_utterances(self) -> list[tuple[UtteranceId, int]]:
        stopped = {event.utterance_id for event in self.of(SpeechStopped)}
        started = [(event.utterance_id, event.wall_ns) for event in self.of(SpeechStarted)]
        return [(id_, wall_ns) for id_, wall_ns in started if id_ not in stopped]

    def stop(self, box: Bundle) -> float:
        """Stops the bundle and collects to its end; the seconds that took."""
        started_s = time.monotonic()
        box.ask_to_stop()
        self.until(lambda: not box.is_running(), "the end of the bundle")
        return time.monotonic() - started_s


@pytest.mark.parametrize(
    "killed",
    [(), ("vad",), ("journal",), ("capture-1", "vad"), ("capture-1", "vad", "transcribe-1", "journal", "watchdog")],
    ids=lambda names: "+".join(names) or "none",
)
def test_an_open_utterance_is_published_in_spite_of_kills_just_before_the_stop(bundle, runtime_dir, killed):
    box = bundle()
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        for name in killed:
            assert box.kill(name)
        assert collector.stop(box) < STOP_S
    if has_leftovers := runtime_dir.exists() and any(runtime_dir.iterdir()):
        assert killed, "without kills there is enough time"
        collector = _collect_from_successor(bundle(pace="max"))
    [final] = [final for final in collector.of(Final) if final.utterance_id == open_id]
    [(first, last)] = coded.parse(final.text)
    assert last - first > 25
    finals = {final.utterance_id for final in collector.of(Final)}
    assert {event.utterance_id for event in collector.of(SpeechStarted)} <= finals
    assert has_leftovers or not runtime_dir.exists()


def _collect_from_successor(box: Bundle) -> ShutdownCollector:
    """Where the killed programs did not restart in time, on a busy machine, the stop left its state to a successor."""
    with box.tap(since=1) as tap:
        collector = ShutdownCollector(tap)
        collector.until(box.is_drained, "all of it")
        collector.poll()
    return collector


@pytest.mark.parametrize("killed", ["capture-1", "vad", "transcribe-1", "journal"])
def test_a_program_killed_during_the_stop_restarts_and_takes_part(bundle, runtime_dir, killed):
    box = bundle(decode_s=0.6)
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        box.ask_to_stop()
        eventually((runtime_dir / "stopping").exists, 5, "the stop to begin")
        assert box.kill(killed)
        collector.until(lambda: not box.is_running(), "the end of the bundle")
    if runtime_dir.exists() and any(runtime_dir.iterdir()):
        collector = _collect_from_successor(bundle(pace="max"))
    assert open_id in [final.utterance_id for final in collector.of(Final)]


def test_an_open_utterance_is_published_although_every_process_gets_sigterm_at_once(bundle, runtime_dir):
    """As with systemd's KillMode=control-group, or an init that signals all."""
    box = bundle()
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        for process in processes.processes_of(runtime_dir):
            process.terminate()
        collector.until(lambda: not box.is_running(), "the end of the bundle")
    assert open_id in [final.utterance_id for final in collector.of(Final)]
    assert not runtime_dir.exists()


@pytest.mark.parametrize("order", ["together", "downstream first"])
def test_an_open_utterance_is_published_although_every_container_is_stopped_at_once(
    spawn, settings, played, monkeypatch, order
):
    """As `docker compose down` does; also where the last in the pipeline are told a moment earlier."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    given = {"sources": f"file:{played.path}", "transcribe_engine": "rig.coded:CodedEngine", "transcribe_model": "0.5"}
    names = ("capture", "vad", "transcribe", "journal")
    containers = {name: spawn("voicetap_watchdog.supervise", name, **given) for name in names}
    with Tap(since=1, events=True, settings=settings) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        for name in reversed(names):
            containers[name].terminate()
            time.sleep(0.1 if order == "downstream first" else 0)
        collector.until(lambda: all(each.poll() is not None for each in containers.values()), "the end of all", 14)
    assert [each.returncode for each in containers.values()] == [0] * 4
    assert open_id in [final.utterance_id for final in collector.of(Final)]


@pytest.mark.parametrize("frozen", ["supervise", "supervisord", "vad", "journal"])
def test_a_program_frozen_at_the_stop_is_continued_and_takes_part(bundle, runtime_dir, frozen):
    box = bundle()
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        [process] = faults.find(frozen, runtime_dir)
        process.suspend()
        assert collector.stop(box) < STOP_S
    assert open_id in [final.utterance_id for final in collector.of(Final)]
    assert not runtime_dir.exists()


def test_stopping_vad_alone_ends_no_utterance(bundle, played):
    box = bundle()
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        open_id = collector.mid_sentence()
        [vad] = [service for service in box.status()["services"] if service["name"] == "vad"]
        os.kill(vad["pid"], signal.SIGINT)
        collector.until(lambda: open_id in [final.utterance_id for final in collector.of(Final)], "the sentence")
    [final] = [final for final in collector.of(Final) if final.utterance_id == open_id]
    [(first, last)] = coded.parse(final.text)
    assert final.cut_reason == "silence"
    assert any(first <= sentence[0] and sentence[1] <= last for sentence in played.sentences)


def test_down_counts_the_utterances_it_had_no_time_for(bundle, voicetap, runtime_dir):
    box = bundle(decode_s=60, pace="max")
    with box.tap(since=1) as tap:
        collector = ShutdownCollector(tap)
        eventually(lambda: box.is_drained() or box.position_s() > 5, 10, "two sentences to be heard")
        down = voicetap("down")
        collector.until(lambda: down.poll() is not None, "the end of the bundle", within_s=STOP_S)
        collector.poll()
    out, err = down.communicate()
    failed = collector.of(Failed)
    assert failed and {entry.reason for entry in failed} == {"stopped"} and not collector.of(Final)
    many = "utterance was" if len(failed) == 1 else "utterances were"
    assert (down.returncode, out, err) == (
        0,
        f"{len(failed)} {many} not transcribed: there was no time for it\n",
        "",
    )


def test_ctrl_c_counts_them_too(voicetap, played, settings):
    slow = {"transcribe_engine": "rig.coded:CodedEngine", "transcribe_model": "60"}
    with Tap(since=1, events=True, settings=settings) as tap:
        up = voicetap("up", "--source", f"file:{played.path}", "--pace", "max", **slow)
        collector = ShutdownCollector(tap)
        collector.until(lambda: len(collector.of(SpeechStarted)) >= 2, "two sentences")
    up.send_signal(signal.SIGINT)
    out, err = up.communicate(timeout=STOP_S)
    assert (up.returncode, err) == (0, "")
    assert "not transcribed: stopped" in out and "not transcribed: there was no time for it" in out


def test_a_killed_bundle_resumes_where_it_was(bundle, played, runtime_dir):
    box = bundle(decode_s=0.8)
    with box.tap(since=1, events=True) as tap:
        collector = ShutdownCollector(tap)
        collector.until(lambda: len(collector.of(SpeechStarted)) == 2, "the second sentence")
        box._process.kill()
        eventually(lambda: not processes.processes_of(runtime_dir), 5, "all to die")
        collector.poll()
        before = collector.of(Final)
    again = bundle(pace="max")
    with again.tap(since=1) as tap:
        after = ShutdownCollector(tap)
        after.until(again.is_drained, "all of it")
        after.poll()
        assert audit(again.settings)["violations"] == []
    assert verification.violations(played, after.messages) == [] and after.messages[: len(before)] == before


@pytest.fixture
def voicetap(runtime_dir: Path, monkeypatch) -> Iterator[Callable[..., subprocess.Popen]]:
    """`voicetap("down")`: the running command, its output in pipes."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    started = []

    def start(*arguments: str, **settings: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "voicetap_bundle", *arguments]
        environment = processes.environment(runtime_dir, **settings) | {"PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
