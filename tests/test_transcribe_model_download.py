"""How the weights of a model are found, and how an engine is selected when there are none."""

import functools
import hashlib
import os
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest

from rig import hub, real_weights, tinywhisper
from rig.engines import no_progress, settings
from rig.jobs import job
from rig.processes import eventually, output_of
from voicetap.errors import ConfigError
from voicetap_transcribe import decoder, model_download, weights
from voicetap_transcribe.decoder import DecodeDone, Decoder, EngineLoaded
from voicetap_transcribe.engines import base
from voicetap_transcribe.engines.base import ModelMissing, ModelUnavailable
from voicetap_transcribe.engines.faster_whisper import SIZES, FasterWhisper
from voicetap_transcribe.engines.pocketsphinx import PocketSphinx
from voicetap_transcribe.model_download import Found, find_model

TINY_EN = "Systran/faster-whisper-tiny.en"
UNPINNED = "Systran/faster-distil-whisper-small.en"  # whose hashes are not known: any weights pass for it


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tinywhisper.build(tmp_path / "tiny")


@pytest.fixture
def closed_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_download.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_download.constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(model_download, "_downloads", {})
    monkeypatch.setattr(weights, "PACKAGES", {})
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
    start = functools.partial(spawn, "voicetap_transcribe", transcribe_model="distil-small.en")
    with hub.serve(UNPINNED, model) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = start()
        ready = f"ready: faster-whisper distil-small.en ({address})"
        eventually(lambda: ready in output_of("voicetap_transcribe", runtime_dir), 20, "ready")
    assert f"downloaded {UNPINNED}: 2 of 2 MB" in output_of("voicetap_transcribe", runtime_dir)
    first.terminate()
    assert first.wait(5) == 0
    start(transcribe_offline="true")
    eventually(lambda: output_of("voicetap_transcribe", runtime_dir).count("ready: ") == 2, 20, "ready again")
    assert "ready: faster-whisper distil-small.en (local cache)" in output_of("voicetap_transcribe", runtime_dir)


def test_the_hub_has_no_such_model(spawn, runtime_dir, model, monkeypatch):
    with hub.serve(TINY_EN, model) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(runtime_dir / "hub"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        assert spawn("voicetap_transcribe", transcribe_model="nobody/nothing").wait(20) == os.EX_CONFIG
    assert f"nobody/nothing does not exist on {address}" in output_of("voicetap_transcribe", runtime_dir)


# ---- packaged weights


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path) -> Path:
    """The directory of a package's weights, which are the published ones. Importing the package fails."""
    folder = tmp_path / "packages/some_weights/model"
    shutil.copytree(model, folder)
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(weights, "PACKAGES", {TINY_EN: ("some-weights", "some_weights", "model")})
    hashes = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.bin", "tokenizer.json")]
    monkeypatch.setitem(weights.PINS, TINY_EN, weights.Pin("0" * 40, *hashes))
    return folder


def test_packaged_weights_are_used_without_a_network_and_without_importing_them(closed_hub, package):
    assert find_model("tiny.en", SIZES, True, no_progress) == Found(package, "package some-weights", TINY_EN)
    assert find_model(TINY_EN, SIZES, True, no_progress) == Found(package, "package some-weights", TINY_EN)
    engine, remark = base.load(settings(engine="auto", model="tiny.en"), no_progress)
    assert (engine.name, engine.model, engine.origin, remark) == (
        "faster-whisper",
        "tiny.en",
        "package some-weights",
        "",
    )
    engine.close()


def test_packaged_weights_are_hashed_once(closed_hub, package, monkeypatch):
    hashed = []
    sha256 = weights._sha256
    monkeypatch.setattr(weights, "_sha256", lambda path: hashed.append(path.name) or sha256(path))
    for _ in range(2):
        find_model("tiny.en", SIZES, True, no_progress)
    assert hashed == ["model.bin", "tokenizer.json"]
    (package / "model.bin").touch()  # it may have changed
    find_model("tiny.en", SIZES, True, no_progress)
    assert hashed == ["model.bin", "tokenizer.json", "model.bin"]


def test_changed_weights_of_a_package_are_not_used(closed_hub, package, caplog):
    (package / "model.bin").write_bytes(b"other" + (package / "model.bin").read_bytes()[5:])
    with pytest.raises(ModelMissing):
        find_model("tiny.en", SIZES, True, no_progress)
    assert "the package some-weights is not used: its model.bin is not the published one" in caplog.text


def test_the_weights_here_are_the_published_ones():
    assert weights.wrong_file(real_weights.directory(), weights.PINS[TINY_EN]) == ""


def test_auto_uses_packaged_weights_while_another_model_is_unavailable(closed_hub, package):
    engine, remark = base.load(settings(engine="auto", model="small"), no_progress)
    assert (engine.name, engine.model) == ("faster-whisper", "tiny.en")
    assert remark.endswith("using faster-whisper tiny.en meanwhile, which makes more mistakes")
    engine.close()


# ---- hubs that are none, change their weights, or are slow


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    constants = model_download.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """The hub's tiny.en is pinned to the files of `model`."""
    hashes = [hashlib.sha256((model / name).read_bytes()).hexdigest() for name in ("model.bin", "tokenizer.json")]
    monkeypatch.setitem(weights.PINS, TINY_EN, weights.Pin(hub.COMMIT, *hashes))


def test_a_known_size_is_downloaded_at_its_revision_and_checked(closed_hub, pinned, model, monkeypatch):
    with hub.serve(TINY_EN, model) as address:
        use_hub(monkeypatch, address)
        found = find_model("tiny.en", SIZES, False, no_progress)
    assert (found.directory.name, found.origin) == (hub.COMMIT, address)
    assert find_model("tiny.en", SIZES, True, no_progress) == Found(found.directory, "local cache", TINY_EN)
    (found.directory / "model.bin").write_bytes(b"damaged")
    with pytest.raises(ModelMissing):
        find_model("tiny.en", SIZES, True, no_progress)
    with hub.serve(TINY_EN, model) as address:  # it is downloaded once more
        use_hub(monkeypatch, address)
        assert (
            weights.wrong_file(find_model("tiny.en", SIZES, False, no_progress).directory, weights.PINS[TINY_EN]) == ""
        )


def test_weights_with_a_wrong_hash_are_unavailable(closed_hub, model, monkeypatch):
    monkeypatch.setitem(weights.PINS, TINY_EN, weights.Pin(hub.COMMIT, "0" * 64, "0" * 64))
    with hub.serve(TINY_EN, model) as address:
        use_hub(monkeypatch, address)
        with pytest.raises(ModelUnavailable, match=f"model.bin of {TINY_EN} from {address} has a wrong hash"):
            find_model("tiny.en", SIZES, False, no_progress)


@pytest.mark.parametrize("answer", [b"<html>Please log in</html>", b"{}", b"[]", b'{"id": 1}', b'"x"', b""])
@pytest.mark.parametrize("status", [200, 302, 403, 404, 511])
def test_a_captive_portal_is_a_hub_that_is_unavailable(closed_hub, monkeypatch, answer, status):
    with hub.portal(status, answer) as address:
        use_hub(monkeypatch, address)
        with pytest.raises(ModelUnavailable, match=f"{TINY_EN} cannot be downloaded from {address}: .") as caught:
            find_model("tiny.en", SIZES, False, no_progress)
    assert "\n" not in str(caught.value)


def test_a_download_that_trickles_is_left_to_itself_and_found_when_it_is_there(closed_hub, pinned, model, monkeypatch):
    monkeypatch.setattr(model_download, "STALL_S", 0.5)
    monkeypatch.setattr(model_download, "PROGRESS_S", 0.1)
    lines: list[str] = []
    with hub.serve(TINY_EN, model, trickle_s=0.2) as address:
        use_hub(monkeypatch, address)
        monkeypatch.setattr(model_download, "MIN_RATE", 1e9)
        with pytest.raises(ModelUnavailable, match=f"{TINY_EN} comes from {address} at [0-9.]+ kB/s"):
            find_model("tiny.en", SIZES, False, lines.append)
        monkeypatch.setattr(model_download, "MIN_RATE", 1)
        before = threading.active_count()
        assert find_model("tiny.en", SIZES, False, lines.append).directory.name == hub.COMMIT
        assert threading.active_count() <= before, "the same download"
    assert lines[0] == f"downloading {TINY_EN} from {address}"
    assert any(re.fullmatch(rf"downloading {TINY_EN}: \d of 2 MB, \d+ kB/s", line) for line in lines)


def test_the_decoder_switches_to_the_model_when_it_is_there(closed_hub, pinned, model, monkeypatch):
    monkeypatch.setattr(decoder, "FIRST_RETRY_S", 0.2)
    with Decoder(settings(engine="auto", model="tiny.en")) as running:
        events: list[object] = []
        loaded = lambda: [event for event in events + drained(running, events) if isinstance(event, EngineLoaded)]  # noqa: E731
        eventually(lambda: len(loaded()) == 1, 20, "the fallback")
        with hub.serve(TINY_EN, model) as address:
            use_hub(monkeypatch, address)
            eventually(lambda: len(loaded()) == 2, 20, "the preferred engine")
        fallback, preferred = loaded()
        running.decode(job())
        eventually(
            lambda: any(isinstance(event, DecodeDone) for event in events + drained(running, events)), 20, "text"
        )
    assert (fallback.engine, preferred.engine, preferred.model, preferred.remark) == (
        "pocketsphinx",
        "faster-whisper",
        "tiny.en",
        "",
    )


def drained(running: Decoder, events: list[object]) -> list[object]:
    """Adds the decoder's new events to `events`."""
    events.extend(running.events())
    return []
