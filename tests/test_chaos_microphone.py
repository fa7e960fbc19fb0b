"""A sound server that dies while somebody speaks: what it did not deliver is a gap, and all else is published."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import coded, judge, speech, world
from rig.microphone import VirtualMicrophone
from voicetap import Tap
from voicetap.messages import Entry, Final, Gap, SpeechStarted, Status
from voicetap.tap import TapMessage
from voicetap_bundle import Bundle

DEAD_S = 2.0
PATIENCE_S = 30.0

pytestmark = [
    pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)"),
    pytest.mark.timeout(120),
]


class Listening:
    """Everything that came out of a tap, until something is true."""

    def __init__(self, tap: Tap):
        self._tap = tap
        self.heard: list[TapMessage] = []

    def until(self, question: Callable[[], object], at_least_s: float = 0.0) -> None:
        earliest_s, deadline_s = time.monotonic() + at_least_s, time.monotonic() + PATIENCE_S
        while not question() or time.monotonic() < earliest_s:
            if message := self._tap.next(timeout_s=0.1):
                self.heard.append(message)
            assert time.monotonic() < deadline_s, self.heard

    def of(self, *kinds: type) -> list:
        return [message for message in self.heard if isinstance(message, kinds)]

    def texts(self) -> list[Final]:
        return [final for final in self.of(Final) if final.text]

    def state(self) -> str:
        """Of the microphone, as it was announced last."""
        states = [status.state for status in self.of(Status) if status.source == "mic"]
        return states[-1] if states else "live"


@pytest.fixture
def five(tmp_path: Path) -> world.World:
    return world.make(tmp_path, 5)


@pytest.fixture
def heard(five, tmp_path, runtime_dir, monkeypatch) -> Listening:
    """Five sentences; in the third the sound server dies, and is there again for the fourth."""
    middle = five.sentences[2][1]
    before = five.part(1, middle, tmp_path / "before.wav")
    after = five.part(middle + 1, five.frames, tmp_path / "after.wav")
    with VirtualMicrophone() as microphone:
        for name, value in {**microphone.environment, "PYTHONPATH": str(Path(__file__).parent)}.items():
            monkeypatch.setenv(name, value)
        box = Bundle("mic:vmic", engine="rig.coded:DeviceEngine", model="0.1", runtime_dir=str(runtime_dir))
        with box, box.tap(since=1, events=True) as tap:
            listening = Listening(tap)
            player = microphone.play(before)
            listening.until(lambda: len(listening.of(SpeechStarted)) == 3, at_least_s=1.0)
            microphone.kill()
            player.wait()
            listening.until(lambda: listening.state() == "lost" and len(listening.texts()) == 3, at_least_s=DEAD_S)
            microphone.restart()
            listening.until(lambda: listening.state() == "live", at_least_s=0.5)
            microphone.play(after).wait()
            listening.until(lambda: len(listening.texts()) == 5)
    return listening


def test_only_what_the_device_did_not_deliver_is_missing(heard, five):
    entries, texts = heard.of(Entry), heard.texts()
    [gap] = heard.of(Gap)
    assert gap.reason == "device_lost" and gap.end_s - gap.start_s > DEAD_S
    assert texts[2].cut_reason == "source_lost" and texts[2].end_s <= gap.start_s, "ended where the sound did"
    assert all(final.start_s >= gap.end_s for final in texts[3:])
    assert [entry.journal_seq for entry in entries] == list(range(1, len(entries) + 1))
    for sentence in (*five.sentences[:2], *five.sentences[3:]):
        assert judge.times_heard(entries, sentence) == {1}, sentence
    begins = coded.parse(texts[2].text)[0][0]
    assert five.sentences[1][1] < begins <= five.sentences[2][0], "the third is there from its beginning"
