"""The whole of voicetap, from sound to text: the way of a microphone, real engines, and nothing left afterwards."""

import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rig import processes, speech, tinywhisper, trained
from rig.microphone import VirtualMicrophone
from rig.processes import eventually
from voicetap import Tap
from voicetap.messages import Failed, Final, Gap, SpeechStarted
from voicetap.settings import Settings
from voicetap_bundle import Bundle
from voicetap_transcribe.engines.base import Options
from voicetap_transcribe.engines.pocketsphinx import PocketSphinx

pytestmark = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")

TRIES = 3  # where the cuts fall within the samples differs, and moves what pocketsphinx hears by four points either way
PAUSE_S = 1.0  # between two recordings: longer than the endpoint


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    with VirtualMicrophone() as virtual:
        for name, value in virtual.environment.items():
            monkeypatch.setenv(name, value)
        yield virtual


def one_after_the_other(recordings: list[speech.Recording], path: Path) -> Path:
    pause = speech.silence(PAUSE_S)
    return speech.write_wav(path, pause + b"".join(speech.pcm_of(each.path) + pause for each in recordings))


class Audience:
    """What a tap has heard of a bundle."""

    def __init__(self, box: Bundle, tap: Tap):
        self._box, self._tap = box, tap
        self.started: list[SpeechStarted] = []
        self.entries: list[Final | Failed | Gap] = []

    def listen(self) -> None:
        while heard := self._tap.next(timeout_s=0.05):
            if isinstance(heard, SpeechStarted):
                self.started.append(heard)
            elif isinstance(heard, Final | Failed | Gap):
                self.entries.append(heard)

    def has_heard(self, seconds: float) -> bool:
        """Whether all is said of this much sound from the first word on, by the clock of the stream."""
        self.listen()
        is_over = self.started and self._box.is_ready() and self._box.position_s() > self.started[0].onset_s + seconds
        return bool(is_over) and len(self.entries) == len(self.started)

    @property
    def text(self) -> str:
        return " ".join(entry.text for entry in self.entries)


@pytest.mark.timeout(400)  # a minute of sound each time, on a busy machine
def test_what_is_said_into_the_microphone_is_published_as_text(microphone: VirtualMicrophone, tmp_path: Path):
    recordings = speech.recordings(tmp_path)
    played = one_after_the_other(recordings, tmp_path / "played.wav")
    said = " ".join(recording.text for recording in recordings)
    limit = speech.word_error_rate([said], [decoded(recordings)]) + 0.03
    wrong: list[float] = []
    while not wrong or statistics.mean(wrong) > limit:
        assert len(wrong) < TRIES, (wrong, limit)
        wrong.append(speech.word_error_rate([said], [published(played, microphone)]))


def published(played: Path, microphone: VirtualMicrophone) -> str:
    """What a bundle publishes that listens to the microphone while this is played into it."""
    with Bundle("mic:vmic", engine="pocketsphinx") as box, box.tap(events=True) as tap:
        assert microphone.play(played).wait() == 0
        audience = Audience(box, tap)
        seconds = len(speech.pcm_of(played)) / 2 / speech.RATE_HZ
        eventually(lambda: audience.has_heard(seconds), 200, f"an entry for everything that was said: {box.status()}")
    assert all(isinstance(entry, Final) and entry.source == "mic" and not entry.gap_s for entry in audience.entries)
    assert [entry.utterance_id for entry in audience.entries] == [event.utterance_id for event in audience.started]
    return audience.text


def decoded(recordings: list[speech.Recording]) -> str:
    """What the same engine hears in the recordings. Their order makes no difference to it, and pauses make little."""
    engine = PocketSphinx()
    engine.load(Settings(), print)
    texts = [engine.transcribe(speech.pcm_of(recording.path), Options()).text for recording in recordings]
    engine.close()
    return " ".join(texts)


def transcribed(path: Path, model: Path) -> list[Final]:
    """By faster-whisper in a bundle."""
    with Bundle(f"file:{path}", engine="faster-whisper", model=str(model), pace="max") as box:
        assert box.engine() == f"faster-whisper {model.name}"
        return list(box.transcripts())


def test_faster_whisper_times_its_words_on_the_clock_of_the_stream(tmp_path: Path):
    recordings = [speech.say(text, tmp_path / f"{number}.wav") for number, text in enumerate(speech.SENTENCES[:2])]
    played = one_after_the_other(recordings, tmp_path / "played.wav")
    entries = transcribed(played, tinywhisper.build(tmp_path / "tiny"))
    assert [(entry.text, entry.engine, entry.model, entry.reason) for entry in entries] == [
        (tinywhisper.TEXT, "faster-whisper", "tiny", "")
    ] * 2
    for entry in entries:
        assert [word.word for word in entry.words] == tinywhisper.TEXT.split()
        starts_s = [word.start_s - entry.start_s for word in entry.words]
        assert starts_s == pytest.approx([number * tinywhisper.WORD_S for number in range(len(starts_s))], abs=0.1)
    assert 0 < entries[0].start_s < PAUSE_S < entries[0].end_s < entries[1].start_s


def test_faster_whisper_hears_what_is_said(tmp_path: Path):
    said = trained.held_out(6, seed=6)
    recordings = [speech.say(text, tmp_path / f"{number}.wav", "rms") for number, text in enumerate(said)]
    entries = transcribed(one_after_the_other(recordings, tmp_path / "played.wav"), trained.MODEL)
    assert speech.word_error_rate(said, [entry.text for entry in entries]) <= 0.1


def traces() -> dict[str, object]:
    """Everything of this process that a bundle might add to."""
    descriptors = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]  # not the one that lists them
    return {
        "threads": psutil.Process().num_threads(),
        "descriptors": sorted(os.readlink(path) for path in descriptors),
        "children": psutil.Process().children(recursive=True),
    }


def test_bundles_come_and_go_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, temporary = tmp_path / "home", tmp_path / "t"
    for name, directory in (("HOME", home), ("TMPDIR", temporary)):
        directory.mkdir()
        monkeypatch.setenv(name, str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    silence = speech.write_wav(tmp_path / "silence.wav", speech.silence(60))
    before = traces()
    for _ in range(3):
        with Bundle(f"file:{silence}", engine="pocketsphinx") as box, box.tap() as tap:
            running = processes.processes_of(Path(box.settings.runtime_dir))
            assert tap.next(timeout_s=0) is None
            assert not [path for process in running for path in shared_memory_of(process)]
        assert traces() == before
        assert [process for process in running if process.is_running()] == []
        assert [*home.iterdir(), *temporary.iterdir()] == []


def shared_memory_of(process: psutil.Process) -> list[str]:
    """What it could leave in /dev/shm: it never has anything there."""
    return [area.path for area in process.memory_maps() if area.path.startswith("/dev/shm")]
