"""Bundle: all programs of voicetap, started and stopped repeatedly by a program."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rig import speech
from rig.processes import eventually
from voicetap.errors import SettingsError
from voicetap.messages import Final
from voicetap_bundle import Bundle, BundleError

SENTENCE = "the boy was there when the sun rose"
NAMES = ["capture-1", "vad", "transcribe-1", "journal", "watchdog"]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    return speech.synthesize(SENTENCE, path).path


def test_a_file_is_transcribed_twice_and_nothing_is_left_behind(spoken: Path):
    box = Bundle(f"file:{spoken}", engine="pocketsphinx", pace="max")
    for _ in range(2):
        with box:
            runtime_dir = Path(box.settings.runtime_dir)
            entries = list(box.transcripts())
        assert [(type(entry), entry.text, entry.engine) for entry in entries] == [(Final, SENTENCE, "pocketsphinx")]
        assert not runtime_dir.exists()
        assert not psutil.Process().children(recursive=True)


def test_the_status_lists_every_program_and_source(voicetap_bundle: Callable[..., Bundle], spoken: Path):
    box = voicetap_bundle(f"hall=file:{spoken}", engine="pocketsphinx")
    status = box.status()
    assert [service["name"] for service in status["services"]] == NAMES
    assert all(psutil.pid_exists(service["pid"]) for service in status["services"])
    assert all(service["beat_age_s"] < 2 and service["rss_bytes"] > 0 for service in status["services"])
    sources = eventually(lambda: box.status()["sources"], within_s=5, what="a source in the status")
    assert sources[0]["source"] == "hall"


def test_a_killed_program_is_replaced(voicetap_bundle: Callable[..., Bundle], spoken: Path):
    box = voicetap_bundle(f"file:{spoken}", engine="pocketsphinx")

    def pid() -> int:
        return next(service["pid"] for service in box.status()["services"] if service["name"] == "vad")

    before = pid()
    assert box.kill("vad")
    eventually(lambda: pid() not in (0, before), within_s=5, what="another vad")
    assert not box.kill("no-such-program")


def test_a_private_bundle_shares_nothing_with_the_one_of_the_user(spoken: Path, tmp_path: Path, monkeypatch):
    config = tmp_path / "voicetap.toml"
    config.write_text(
        "addresses = ['transcript=tcp://127.0.0.1:1']\n[journal]\ndata_dir = '/nowhere'\n[vad]\nonset_ms = 128"
    )
    monkeypatch.setenv("VOICETAP_CONFIG", str(config))
    box = Bundle(f"file:{spoken}", engine="pocketsphinx", settings={"capture.pace": "max"})
    with box:
        assert (box.settings.addresses, box.settings.journal.data_dir) == ((), "")
        assert (box.settings.vad.onset_ms, box.settings.capture.pace) == (128, "max")
        assert [entry.text for entry in box.transcripts()] == [SENTENCE]


def test_a_program_that_keeps_crashing_at_the_start_ends_it_with_its_last_log_line(spoken: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    box = Bundle(f"file:{spoken}", engine="rig.coded:CrashingEngine")
    with pytest.raises(BundleError, match=r"transcribe-1: .*exit status 3") as failed:
        box.start(within_s=30)
    assert (failed.value.exit_code, failed.value.program) == (1, "transcribe-1")


def test_a_permanent_failure_ends_the_start_with_one_line(spoken: Path):
    box = Bundle(f"file:{spoken}", engine="parrot")
    with pytest.raises(BundleError, match="transcribe-1: there is no engine parrot") as error:
        box.start()
    assert error.value.exit_code == os.EX_CONFIG
    assert not Path(box.settings.runtime_dir).exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"source": "radio"}, "radio"),
        ({"source": "file:/a;b.wav"}, "';'"),
        ({"settings": {"vad.treshold": 0.5}}, "VOICETAP_VAD_THRESHOLD"),
        ({"pace": "slow"}, "capture.pace"),
    ],
)
def test_an_invalid_setting_starts_nothing(options: dict, complaint: str):
    with pytest.raises(SettingsError, match=complaint):
        Bundle(**options).start()
    assert not psutil.Process().children()
