"""transcribe's engines, run for real: faster-whisper on a model the tests make, pocketsphinx on its own."""

import functools
import os
import shutil
import socket
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from faster_whisper.transcribe import Segment

from rig import hub, tinywhisper, trained
from rig.processes import eventually, output_of
from voicetap.errors import ConfigError
from voicetap.settings import Settings, TranscribeSettings
from voicetap_transcribe import engine as engines
from voicetap_transcribe import guards, whisper, windows
from voicetap_transcribe import hub as weights
from voicetap_transcribe.engine import Abandoned, ModelUnavailable, Options
from voicetap_transcribe.sphinx import PocketSphinx
from voicetap_transcribe.whisper import FasterWhisper

TINY_EN = "Systran/faster-whisper-tiny.en"
SILENCE = bytes(32_000)


def quiet(detail: str) -> None:
    """Progress nobody reads."""


def settings(**transcribe: object) -> Settings:
    return Settings(transcribe=replace(TranscribeSettings(), **transcribe))


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One that is made here, or a copy of the one that a test asks for, which says nothing of short windows."""
    if wanted := getattr(request, "param", None):
        return Path(shutil.copytree(wanted, tmp_path / wanted.name, ignore=shutil.ignore_patterns(windows.FILE)))
    return tinywhisper.build(tmp_path / "tiny")


@pytest.fixture
def closed_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights.constants, "ENDPOINT", "http://127.0.0.1:9")


def whisper_on(model: Path, **transcribe: object) -> FasterWhisper:
    engine = FasterWhisper()
    engine.load(settings(model=str(model), **transcribe), quiet)
    return engine


def spoken(text: str, directory: Path, voice: str = "rms") -> bytes:
    """flite's speech as s16le mono 16 kHz, with a little silence around it."""
    if not which("flite"):
        pytest.skip("flite is not installed (apt install flite)")
    path = directory / "spoken.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return bytes(9600) + file.readframes(file.getnframes()) + bytes(9600)


# ---- by name


def test_engines_are_found_by_name():
    assert isinstance(engines.create("faster-whisper"), FasterWhisper)
    assert isinstance(engines.create("pocketsphinx"), PocketSphinx)


def test_an_unknown_engine_names_the_nearest_first():
    with pytest.raises(ConfigError, match="no engine sphinx; did you mean pocketsphinx.; there are pocketsphinx, "):
        engines.create("sphinx")


def test_auto_takes_whisper_when_its_weights_are_there(model):
    engine, remark = engines.load(settings(engine="auto", model=str(model)), quiet)
    assert (engine.name, engine.model, remark) == ("faster-whisper", "tiny", "")
    engine.close()


@pytest.mark.parametrize("wanted", [{"offline": True}, {"offline": False}])
def test_auto_falls_back_to_pocketsphinx(closed_hub, wanted):
    engine, remark = engines.load(settings(engine="auto", model="tiny.en", **wanted), quiet)
    assert (engine.name, engine.model) == ("pocketsphinx", "en-us") and "using pocketsphinx" in remark
    engine.close()


def test_auto_waits_for_whisper_where_pocketsphinx_is_no_help(closed_hub):
    with pytest.raises(ModelUnavailable):
        engines.load(settings(engine="auto", model="tiny", language="de"), quiet)


def test_a_misspelt_model_is_no_reason_to_fall_back(closed_hub):
    with pytest.raises(ConfigError, match="did you mean tiny.en"):
        engines.load(settings(engine="auto", model="tiny.em"), quiet)


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
def test_a_model_that_cannot_be(closed_hub, name, offline, hint):
    with pytest.raises(ConfigError, match=hint):
        weights.find(name, whisper.SIZES, offline, quiet)


def test_the_hub_does_not_answer(closed_hub):
    with pytest.raises(ModelUnavailable, match=f"{TINY_EN} cannot be had from http://127.0.0.1:9: .*refused"):
        weights.find("tiny.en", whisper.SIZES, False, quiet)


def test_the_hub_accepts_and_says_nothing(closed_hub, monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(weights.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ModelUnavailable, match="timed out"):
            weights.find("tiny.en", whisper.SIZES, False, quiet)


def test_the_hub_is_asked_once_then_the_cache(spawn, runtime_dir, model, monkeypatch):
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


@pytest.mark.parametrize("file", ["model.bin", "config.json", "vocabulary.json", "tokenizer.json"])
def test_a_damaged_model_is_one_line(model, file):
    (model / file).write_bytes((model / file).read_bytes()[:-20])
    with pytest.raises(ConfigError, match=f"the model in {model} cannot be used: ") as caught:
        whisper_on(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.bin", "vocabulary.json", "tokenizer.json"])
def test_an_incomplete_model_is_one_line(model, file):
    (model / file).unlink()
    with pytest.raises(ConfigError, match=f"the model in {model} cannot be used: ") as caught:
        whisper_on(model)
    assert "\n" not in str(caught.value)


def test_a_language_the_model_does_not_know(model):
    with pytest.raises(ConfigError, match="does not know de; it knows English only"):
        whisper_on(model, language="de")


# ---- faster-whisper


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each window had that was encoded."""
    frames = []
    encode = whisper.WhisperModel.encode
    note = lambda self, features: frames.append(features.shape[-1]) or encode(self, features)  # noqa: E731
    monkeypatch.setattr(whisper.WhisperModel, "encode", note)
    return frames


@pytest.mark.parametrize("options", [{}, {"beam_size": 1}, {"hotwords": "lamp", "initial_prompt": "At home."}])
def test_whisper_encodes_once_and_times_every_word(model, options, shown):
    engine = whisper_on(model, **options)
    result = engine.transcribe(25 * SILENCE, Options(previous_text="hello"))
    engine.close()
    assert (result.text.strip(), result.language, shown) == (tinywhisper.TEXT, "en", [3000])
    assert [word.word.strip() for word in result.words] == tinywhisper.TEXT.split()
    ends_s = [tinywhisper.WORD_S * number for number in range(1, 6)]
    assert [word.end_s for word in result.words] == pytest.approx(ends_s, abs=0.05)
    assert all(word.probability > 0.9 for word in result.words)


def test_whisper_without_word_times(model):
    engine = whisper_on(model, word_timestamps=False)
    result = engine.transcribe(SILENCE, Options())
    interim = engine.transcribe(SILENCE, Options(is_interim=True))  # whose reader needs to know where they end
    engine.close()
    assert (result.text.strip(), result.words, len(interim.words)) == (tinywhisper.TEXT, (), 5)


@pytest.mark.parametrize("samples", [0, 1, 200])
def test_no_sound_is_no_failure(model, samples):
    engine = whisper_on(model)
    heard = engine.transcribe(bytes(2 * samples), Options())
    engine.close()
    assert heard.text.strip() in ("", tinywhisper.TEXT)


def test_sound_longer_than_a_window_is_heard_to_its_end(model, shown):
    engine = whisper_on(model)
    result = engine.transcribe(45 * SILENCE, Options())
    engine.close()
    windows_shown = len(shown)  # 1 s of words in each, so the next begins there
    assert windows_shown == 16 and len(result.words) == 5 * windows_shown
    assert result.words[-1].end_s == pytest.approx(windows_shown * 1.0, abs=0.5)


def transcribed(engine: FasterWhisper, pcm: bytes) -> Segment:
    """What faster-whisper's own `transcribe` makes of it, greedily, before it turns to the silence at the end."""
    segments, _ = engine._whisper.transcribe(
        np.frombuffer(pcm, "<i2").astype(np.float32) / 32768,
        beam_size=1,
        temperature=0.0,
        word_timestamps=True,
        without_timestamps=True,
        condition_on_previous_text=False,
        log_prob_threshold=None,
    )
    return next(segments)


@pytest.mark.parametrize("model", [None, trained.MODEL], ids=["made here", "trained"], indirect=True)
def test_whisper_hears_what_faster_whisper_does(model, tmp_path):
    engine = whisper_on(model, beam_size=1)
    pcm = spoken("turn on the kitchen light", tmp_path, "slt")
    segment = transcribed(engine, pcm)
    heard = engine.transcribe(pcm, Options())
    engine.close()
    assert heard.text == segment.text
    assert (heard.avg_logprob, heard.no_speech_prob) == pytest.approx((segment.avg_logprob, segment.no_speech_prob))
    words = [(word.word, word.start_s, word.end_s, word.probability) for word in heard.words]
    assert words == [(word.word, word.start, word.end, pytest.approx(word.probability)) for word in segment.words]


def test_a_decode_gives_way_between_its_steps(model, shown):
    asked = []
    engine = whisper_on(model)
    with pytest.raises(Abandoned):  # after it was encoded
        engine.transcribe(SILENCE, Options(gives_way=lambda: asked.append(1) or len(asked) == 2))
    engine.close()
    assert shown == [3000]


# ---- windows


def declare_short(model: Path) -> None:
    (model / "voicetap.json").write_text('{"short_windows": true}')


def test_weights_that_hear_in_short_windows_are_shown_short_ones(model, shown):
    declare_short(model)
    engine = whisper_on(model)
    del shown[:]  # of the check
    assert engine.transcribe(4 * SILENCE, Options()).text.strip() == tinywhisper.TEXT
    engine.close()
    assert shown == [500]


def test_weights_that_learned_to_hear_in_short_windows_do(tmp_path, shown):
    engine = whisper_on(trained.MODEL)
    pcm = spoken("turn on the kitchen light", tmp_path, "slt")
    assert engine.transcribe(pcm, Options()).text.strip() == "turn on the kitchen light"
    engine.close()
    assert shown == [3000, 300, 300]


def test_weights_that_only_claim_to_are_found_out(model, shown, monkeypatch, caplog):
    declare_short(model)
    heard = FasterWhisper._generate
    monkeypatch.setattr(
        FasterWhisper,
        "_generate",
        lambda *more, **named: replace(heard(*more, **named), text="you you" if shown[-1] < 3000 else "turn on"),
    )
    engine = whisper_on(model)
    engine.transcribe(SILENCE, Options())
    engine.close()
    assert shown == [3000, 300, 3000]
    assert "hears 'you you' in a short window and 'turn on' in a long one" in caplog.text


def test_a_damaged_declaration_is_one_line(model):
    (model / "voicetap.json").write_text("[]")
    with pytest.raises(ConfigError, match="voicetap.json cannot be used: it should say"):
        whisper_on(model)


def test_a_window_is_never_taken_for_encoded_sound():
    """CTranslate2 takes 160 frames for it with 80 mels, and 256 with 128."""
    assert {windows.fitting(frames) for frames in range(1, 3500)} == set(range(200, 3001, 100))
    assert all(windows.fitting(frames) >= frames + windows.MARGIN_FRAMES for frames in range(1, 2900))


MEASURE = """
import gc, sys, psutil
sys.path.insert(0, sys.argv[1])
from test_transcribe_engines import SILENCE, Options, whisper_on

def rss_of_a_life(model):
    gc.collect()
    rss = [psutil.Process().memory_info().rss]
    engine = whisper_on(model, compute_type="float32")
    engine.transcribe(SILENCE, Options())
    rss.append(psutil.Process().memory_info().rss)
    engine.close()
    return [*rss, psutil.Process().memory_info().rss]

rss_of_a_life(sys.argv[2])  # the libraries' own share, which stays
print(*rss_of_a_life(sys.argv[3]))
"""


def test_close_gives_the_memory_back(tmp_path):
    """In a process of its own: here the memory of earlier tests would be used again."""
    models = tinywhisper.build(tmp_path / "small"), tinywhisper.build(tmp_path / "large", width=768)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), *map(str, models)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, loaded, after = map(int, measured.split())
    assert loaded - before > 60e6, "too small a model to see"
    assert after - before < 0.3 * (loaded - before)  # the libraries keep work space for a model of this size


def test_whisper_hears_words(tmp_path):
    engine = whisper_on(trained.MODEL)
    result = engine.transcribe(spoken("turn on the kitchen light", tmp_path, "slt"), Options())
    engine.close()
    assert result.text.strip() == "turn on the kitchen light"


def test_noise_and_silence_are_no_text():
    engine = whisper_on(trained.MODEL)
    noise = np.random.default_rng(0).normal(0, 1500, 5 * 16_000)
    for sound in (0 * noise, noise, np.cumsum(noise) / 100):
        for seconds in (1, 5):
            result = engine.transcribe(sound[: seconds * 16_000].astype("<i2").tobytes(), Options())
            assert guards.judge(result, seconds) == guards.Verdict("", (), "no_speech")
    engine.close()


# ---- pocketsphinx


def test_pocketsphinx_hears_words(tmp_path):
    engine = PocketSphinx()
    engine.load(settings(), quiet)
    pcm = spoken("the boy was there when the sun rose", tmp_path)
    result = engine.transcribe(pcm, Options())
    assert result.text == "the boy was there when the sun rose"
    assert [word.word for word in result.words] == result.text.split()
    assert all(0 < word.probability <= 1 for word in result.words) and result.avg_logprob < 0
    times_s = [time_s for word in result.words for time_s in (word.start_s, word.end_s)]
    assert times_s == sorted(times_s) and 0.2 < times_s[0] and times_s[-1] < len(pcm) / 32_000
    assert engine.transcribe(SILENCE, Options()).text == engine.transcribe(b"", Options()).text == ""
    engine.close()


def test_pocketsphinx_hears_the_same_whatever_it_heard_before(tmp_path):
    engine = PocketSphinx()
    engine.load(settings(), quiet)
    pcm = spoken("help the woman get back to her feet", tmp_path, voice="kal16")
    first = engine.transcribe(pcm, Options())
    engine.transcribe(np.random.default_rng(0).integers(-9000, 9000, 48_000, np.int16).tobytes(), Options())
    assert engine.transcribe(pcm, Options()) == first
    engine.close()


def test_pocketsphinx_gives_way_and_goes_on():
    engine = PocketSphinx()
    engine.load(settings(), quiet)
    asked = []
    with pytest.raises(Abandoned):
        engine.transcribe(SILENCE, Options(gives_way=lambda: asked.append(1) or len(asked) == 3))
    assert engine.transcribe(SILENCE, Options()).text == ""
    engine.close()


def test_pocketsphinx_knows_english_only():
    with pytest.raises(ConfigError, match="English only, not de"):
        PocketSphinx().load(settings(language="de"), quiet)
