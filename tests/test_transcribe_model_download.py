"""How the weights of a model are found, and how an engine is selected when there are none."""

import functools
import os
import socket
from pathlib import Path

import pytest

from rig import hub, tinywhisper
from rig.engines import no_progress, settings
from rig.processes import eventually, output_of
from voicetap.errors import ConfigError
from voicetap_transcribe import model_download
from voicetap_transcribe.engines import base
from voicetap_transcribe.engines.base import ModelUnavailable
from voicetap_transcribe.engines.faster_whisper import SIZES, FasterWhisper
from voicetap_transcribe.engines.pocketsphinx import PocketSphinx
from voicetap_transcribe.model_download import find_model

TINY_EN = "Systran/faster-whisper-tiny.en"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tinywhisper.build(tmp_path / "tiny")


@pytest.fixture
def closed_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_download.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_download.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model_download.constants, "ENDPOINT", "http://127.0.0.1:9")


# ---- engines by name


def test_engines_are_found_by_name():
    assert isinstance(base.create("faster-whisper"), FasterWhisper)
    assert isinstance(base.create("pocketsphinx"), PocketSphinx)


def test_an_unknown_engine_names_the_nearest_first():
    with pytest.raises(ConfigError, match="no engine sphinx; did you mean pocketsphinx.; there are pocketsphinx, "):
        base.create("sphinx")


def test_auto_takes_whisper_when_its_weights_are_there(model):
    engine, remark = base.load(settings(engine="auto", model=str(model)), no_progress)
    assert (engine.name, engine.model, remark) == ("faster-whisper", "tiny", "")
    engine.close()


@pytest.mark.parametrize("wanted", [{"offline": True}, {"offline": False}])
def test_auto_falls_back_to_pocketsphinx(closed_hub, wanted):
    engine, remark = base.load(settings(engine="auto", model="tiny.en", **wanted), no_progress)
    assert (engine.name, engine.model) == ("pocketsphinx", "en-us") and "using pocketsphinx" in remark
    engine.close()


def test_auto_waits_for_whisper_where_pocketsphinx_is_no_help(closed_hub):
    with pytest.raises(ModelUnavailable):
        base.load(settings(engine="auto", model="tiny", language="de"), no_progress)


def test_a_misspelt_model_is_no_reason_to_fall_back(closed_hub):
    with pytest.raises(ConfigError, match="did you mean tiny.en"):
        base.load(settings(engine="auto", model="tiny.em"), no_progress)


# ---- where weights come from


@pytest.mark.parametrize(
    ("name", "offline", "hint"),
    [
        ("/no/such", False, "no directory /no/such"),
        ("./such", False, "no directory ./such"),
        ("tine.en", False, "no size tine.en; did you mean tiny.en"),
        ("a//b", False, "a//b is no hub id"),
        ("tiny.en", True, "not in the local cache, and offline is set"),
    ],
)
def test_a_model_that_cannot_be_found(closed_hub, name, offline, hint):
    with pytest.raises(ConfigError, match=hint):
        find_model(name, SIZES, offline, no_progress)


def test_the_hub_does_not_answer(closed_hub):
    with pytest.raises(ModelUnavailable, match=f"{TINY_EN} cannot be downloaded from http://127.0.0.1:9: .*refused"):
        find_model("tiny.en", SIZES, False, no_progress)


def test_the_hub_accepts_a_connection_and_never_answers(closed_hub, monkeypatch):
    monkeypatch.setattr(model_download, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(model_download.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ModelUnavailable, match="timed out"):
            find_model("tiny.en", SIZES, False, no_progress)


def test_a_model_is_downloaded_once_and_then_cached(spawn, runtime_dir, model, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(runtime_dir / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    start = functools.partial(spawn, "voicetap_transcribe", transcribe_model="tiny.en")
    with hub.serve(TINY_EN, model) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = start()
        eventually(
            lambda: "ready: faster-whisper tiny.en" in output_of("voicetap_transcribe", runtime_dir), 20, "ready"
        )
    assert f"downloading {TINY_EN}: 2 of 2 MB" in output_of("voicetap_transcribe", runtime_dir)
    first.terminate()
    assert first.wait(5) == 0
    start(transcribe_offline="true")
    eventually(lambda: output_of("voicetap_transcribe", runtime_dir).count("ready: ") == 2, 20, "ready again")


def test_the_hub_has_no_such_model(spawn, runtime_dir, model, monkeypatch):
    with hub.serve(TINY_EN, model) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(runtime_dir / "hub"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        assert spawn("voicetap_transcribe", transcribe_model="nobody/nothing").wait(20) == os.EX_CONFIG
    assert f"nobody/nothing does not exist on {address}" in output_of("voicetap_transcribe", runtime_dir)
