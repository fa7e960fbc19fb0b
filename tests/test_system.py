"""The whole of voicetap, from sound to text: microphones, real engines, and nothing left after a stop."""

import os
from functools import partial
from pathlib import Path

import psutil
import pytest
from faster_whisper import WhisperModel

from rig import processes, real_weights, speech, tinywhisper, trained
from rig.collector import TapCollector
from rig.microphone import VirtualMicrophone
from voicetap.messages import Entry, Final, SpeechStarted
from voicetap_bundle import Bundle

pytestmark = pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")

MICROPHONES = 4  # play at the same time, which takes less time than one for all recordings
MARGIN = 0.03  # of the word error rate: segments begin and end elsewhere than the recordings
PAUSE_S = 1.0  # between two recordings: longer than the endpoint


def write_in_sequence(recordings: list[speech.Recording], path: Path) -> Path:
    """Writes the recordings to one wav file, with pauses before, between and after them."""
    pause = speech.silence(PAUSE_S)
    return speech.write_wav(path, pause + b"".join(speech.pcm_of(each.path) + pause for each in recordings))


@pytest.mark.timeout(400)  # fifteen seconds of sound, but decoding takes minutes on a machine that is busy otherwise
def test_speech_into_microphones_is_published_as_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    recordings = speech.recordings(tmp_path)
    limit = speech.word_error_rate([text_of(recordings)], [decoded(recordings)]) + MARGIN
    shares = shares_of(recordings)
    files = [write_in_sequence(share, tmp_path / f"share-{number}.wav") for number, share in enumerate(shares)]
    with VirtualMicrophone(MICROPHONES) as microphone:
        for name, value in microphone.environment.items():
            monkeypatch.setenv(name, value)
        texts = published(files, microphone)
    assert speech.word_error_rate([text_of(share) for share in shares], texts) <= limit


def shares_of(recordings: list[speech.Recording]) -> list[list[speech.Recording]]:
    """The recordings for each microphone, about equally long."""
    shares: list[list[speech.Recording]] = [[] for _ in range(MICROPHONES)]
    for recording in sorted(recordings, key=size_of, reverse=True):
        min(shares, key=lambda share: sum(map(size_of, share))).append(recording)
    return shares


def size_of(recording: speech.Recording) -> int:
    return recording.path.stat().st_size


def text_of(recordings: list[speech.Recording]) -> str:
    return " ".join(recording.text for recording in recordings)


def published(files: list[Path], microphone: VirtualMicrophone) -> list[str]:
    """The text that a bundle publishes of each microphone, while these files are played into them."""
    sources = [f"{device}=mic:{device}" for device in microphone.devices]
    with (
        Bundle(sources, engine="faster-whisper", model=str(real_weights.directory())) as box,
        box.tap(events=True) as tap,
    ):
        collector = TapCollector(tap)
        players = [microphone.play(file, device) for file, device in zip(files, microphone.devices, strict=True)]
        assert [player.wait() for player in players] == [0] * len(players)
        for file, device in zip(files, microphone.devices, strict=True):
            is_done = partial(is_published, box, collector, device, len(speech.pcm_of(file)) / 2 / speech.RATE_HZ)
            collector.until(is_done, f"the entries of {device}", 200)
    return [checked_text(collector, device) for device in microphone.devices]


def is_published(box: Bundle, collector: TapCollector, source: str, seconds: float) -> bool:
    """Whether vad has processed so many seconds from the first onset on, and all utterances have entries."""
    started, entries = of_source(collector, source, SpeechStarted), of_source(collector, source, Entry)
    if not started or len(entries) != len(started):
        return False
    positions_s = {row["source"]: row["position_s"] for row in box.status()["sources"]}
    return positions_s.get(source, 0) > started[0].onset_s + seconds


def checked_text(collector: TapCollector, source: str) -> str:
    """The text of a source whose utterances all have a Final, in order and without gaps."""
    started, entries = of_source(collector, source, SpeechStarted), of_source(collector, source, Entry)
    assert all(isinstance(entry, Final) and not entry.gap_s for entry in entries)
    assert [entry.utterance_id for entry in entries] == [event.utterance_id for event in started]
    return " ".join(entry.text for entry in entries)


def of_source(collector: TapCollector, source: str, type_: type) -> list:
    return [message for message in collector.of(type_) if message.source == source]


def decoded(recordings: list[speech.Recording]) -> str:
    """The text by the same weights of each recording by itself."""
    whisper = WhisperModel(str(real_weights.directory()), device="cpu", compute_type="int8")
    texts = []
    for recording in recordings:
        segments, _ = whisper.transcribe(str(recording.path), beam_size=5, language="en")
        texts.append(" ".join(segment.text for segment in segments))
    return " ".join(texts)


def transcribed(path: Path, model: Path) -> list[Final]:
    """The entries of a bundle with faster-whisper."""
    with Bundle(f"file:{path}", engine="faster-whisper", model=str(model), pace="max") as box:
        assert box.engine() == f"faster-whisper {model.name}"
        return list(box.transcripts())


def test_faster_whisper_times_its_words_on_the_clock_of_the_stream(tmp_path: Path):
    recordings = [
        speech.synthesize(text, tmp_path / f"{number}.wav") for number, text in enumerate(speech.SENTENCES[:2])
    ]
    played = write_in_sequence(recordings, tmp_path / "played.wav")
    entries = transcribed(played, tinywhisper.build(tmp_path / "tiny"))
    assert [(entry.text, entry.engine, entry.model, entry.reason) for entry in entries] == [
        (tinywhisper.TEXT, "faster-whisper", "tiny", "")
    ] * 2
    for entry in entries:
        assert [word.word for word in entry.words] == tinywhisper.TEXT.split()
        starts_s = [word.start_s - entry.start_s for word in entry.words]
        assert starts_s == pytest.approx([number * tinywhisper.WORD_S for number in range(len(starts_s))], abs=0.1)
    assert 0 < entries[0].start_s < PAUSE_S < entries[0].end_s < entries[1].start_s


def test_faster_whisper_transcribes_unseen_sentences(tmp_path: Path):
    sentences = trained.held_out(6, seed=6)
    recordings = [speech.synthesize(text, tmp_path / f"{number}.wav", "rms") for number, text in enumerate(sentences)]
    entries = transcribed(write_in_sequence(recordings, tmp_path / "played.wav"), trained.MODEL)
    assert speech.word_error_rate(sentences, [entry.text for entry in entries]) <= 0.1


def traces() -> dict[str, object]:
    """Resources of this process that a bundle could leak."""
    descriptors = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]  # without that of the listing
    return {
        "threads": psutil.Process().num_threads(),
        "descriptors": sorted(os.readlink(path) for path in descriptors),
        "children": psutil.Process().children(recursive=True),
    }


def test_bundles_come_and_go_without_a_trace(runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, temporary = runtime_dir / "home", runtime_dir / "t"  # short enough for sockets
    for name, directory in (("HOME", home), ("TMPDIR", temporary)):
        directory.mkdir()
        monkeypatch.setenv(name, str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    silence = speech.write_wav(tmp_path / "silence.wav", speech.silence(60))
    before = traces()
    for _ in range(2):  # the second finds what the first has left
        with Bundle(f"file:{silence}", engine="pocketsphinx") as box, box.tap() as tap:
            running = processes.processes_of(Path(box.settings.runtime_dir))
            assert tap.next(timeout_s=0) is None
            assert not [path for process in running for path in shared_memory_of(process)]
        assert traces() == before
        assert [process for process in running if process.is_running()] == []
        assert [*home.iterdir(), *temporary.iterdir()] == []


def shared_memory_of(process: psutil.Process) -> list[str]:
    """Its mappings of /dev/shm, where a killed process would leave files; services map none."""
    return [area.path for area in process.memory_maps() if area.path.startswith("/dev/shm")]
