"""A sound server that dies during speech: only the sound that it did not deliver is missing, and is a gap entry."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rig import coded, speech, verification, world
from rig.collector import TapCollector
from rig.microphone import VirtualMicrophone
from voicetap.messages import Entry, Final, Gap, SpeechStarted, Status
from voicetap.vocabulary import CutReason, Reason, SourceStatus
from voicetap_bundle import Bundle

DEAD_S = 2.0  # between the kill of the sound server and its restart, at least
LEAD_FRAMES = 25  # 0.8 s: the begin of the third sentence, which is before its core, and half of the pause before it
TIMEOUT_S = 30.0

pytestmark = [
    pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def played(tmp_path: Path) -> world.World:
    return world.build(tmp_path, 3)


@pytest.fixture
def collector(played, tmp_path, runtime_dir, monkeypatch) -> TapCollector:
    """Three sentences; the sound server is killed in the second, and started again before the third."""
    before = played.part(1, played.sentences[1][1], tmp_path / "before.wav")
    after = played.part(played.sentences[2][0] - LEAD_FRAMES, played.frames, tmp_path / "after.wav")
    with VirtualMicrophone() as microphone:
        for name, value in {**microphone.environment, "PYTHONPATH": str(Path(__file__).parent)}.items():
            monkeypatch.setenv(name, value)
        box = Bundle("mic:vmic", engine="rig.coded:DeviceEngine", model="0.1", runtime_dir=str(runtime_dir))
        with box, box.tap(since=1, events=True) as tap:
            collector = TapCollector(tap)

            def until(condition: Callable[[], object], what: str) -> None:
                collector.until(condition, what, TIMEOUT_S)

            player = microphone.play(before)
            until(lambda: len(collector.of(SpeechStarted)) == 2, "the second sentence")
            microphone.kill()
            player.wait()
            collector.collect_for(DEAD_S)
            until(lambda: status(collector) == SourceStatus.LOST and len(texts(collector)) == 2, "the loss")
            microphone.restart()
            until(lambda: status(collector) == SourceStatus.LIVE, "the microphone to be live again")
            collector.collect_for(0.5)
            microphone.play(after).wait()
            until(lambda: len(texts(collector)) == 3, "three texts")
    return collector


def texts(collector: TapCollector) -> list[Final]:
    return [final for final in collector.of(Final) if final.text]


def status(collector: TapCollector) -> str:
    """The last announced status of the microphone."""
    states = [status.state for status in collector.of(Status) if status.source == "mic"]
    return states[-1] if states else SourceStatus.LIVE


def test_only_what_the_device_did_not_deliver_is_missing(collector, played):
    entries, finals = collector.of(Entry), texts(collector)
    [gap] = collector.of(Gap)
    assert gap.reason == Reason.DEVICE_LOST and gap.end_s - gap.start_s > DEAD_S
    assert finals[1].cut_reason == CutReason.SOURCE_LOST and finals[1].end_s <= gap.start_s, "it ends with the sound"
    assert all(final.start_s >= gap.end_s for final in finals[2:])
    assert [entry.journal_seq for entry in entries] == list(range(1, len(entries) + 1))
    for sentence in (played.sentences[0], played.sentences[2]):
        assert verification.times_published(entries, sentence) == {1}, sentence
    first_frame = coded.parse(finals[1].text)[0][0]
    assert played.sentences[0][1] < first_frame <= played.sentences[1][0], "the second has its beginning"
