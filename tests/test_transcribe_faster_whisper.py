"""The engine faster-whisper, on a model built by the tests and on the trained one."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.transcribe import Segment

from rig import tinywhisper, trained
from rig.engines import SILENCE, load_whisper, spoken
from voicetap.errors import ConfigError
from voicetap_transcribe.engines import faster_whisper, windows
from voicetap_transcribe.engines.base import Options, Preempted
from voicetap_transcribe.engines.faster_whisper import FasterWhisper
from voicetap_transcribe.hallucination_filter import FilteredResult, filter_result


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One that is built here, or a copy of the model of the parameter, without its declaration of short windows."""
    if wanted := getattr(request, "param", None):
        return Path(shutil.copytree(wanted, tmp_path / wanted.name, ignore=shutil.ignore_patterns(windows.DECLARATION)))
    return tinywhisper.build(tmp_path / "tiny")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the windows that were encoded, in mel frames."""
    frames = []
    encode = faster_whisper.WhisperModel.encode
    record = lambda self, features: frames.append(features.shape[-1]) or encode(self, features)  # noqa: E731
    monkeypatch.setattr(faster_whisper.WhisperModel, "encode", record)
    return frames


@pytest.mark.parametrize("options", [{}, {"beam_size": 1}, {"hotwords": "lamp", "initial_prompt": "At home."}])
def test_whisper_encodes_once_and_times_every_word(model, options, encoded):
    engine = load_whisper(model, **options)
    result = engine.transcribe(25 * SILENCE, Options())
    engine.close()
    assert (result.text.strip(), result.language, encoded) == (tinywhisper.TEXT, "en", [3000])
    assert [word.word.strip() for word in result.words] == tinywhisper.TEXT.split()
    ends_s = [tinywhisper.WORD_S * number for number in range(1, 6)]
    assert [word.end_s for word in result.words] == pytest.approx(ends_s, abs=0.05)
    assert all(word.probability > 0.9 for word in result.words)


def test_whisper_without_word_times(model):
    engine = load_whisper(model, word_timestamps=False)
    result = engine.transcribe(SILENCE, Options())
    interim = engine.transcribe(SILENCE, Options(is_interim=True))  # vad needs the ends of its words
    engine.close()
    assert (result.text.strip(), result.words, len(interim.words)) == (tinywhisper.TEXT, (), 5)


@pytest.mark.parametrize("samples", [0, 1, 200])
def test_empty_audio_does_not_fail(model, samples):
    engine = load_whisper(model)
    decoded = engine.transcribe(bytes(2 * samples), Options())
    engine.close()
    assert decoded.text.strip() in ("", tinywhisper.TEXT)


def test_audio_longer_than_a_window_is_decoded_to_its_end(model, encoded):
    engine = load_whisper(model)
    result = engine.transcribe(45 * SILENCE, Options())
    engine.close()
    windows_encoded = len(encoded)  # 1 s of words in each, so the next begins there
    assert windows_encoded == 16 and len(result.words) == 5 * windows_encoded
    assert result.words[-1].end_s == pytest.approx(windows_encoded * 1.0, abs=0.5)


def transcribed(engine: FasterWhisper, pcm: bytes) -> Segment:
    """The first segment of faster-whisper's own `transcribe`, with greedy search."""
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
def test_the_result_is_that_of_faster_whispers_own_transcribe(model, tmp_path):
    engine = load_whisper(model, beam_size=1)
    pcm = spoken("turn on the kitchen light", tmp_path, "slt")
    segment = transcribed(engine, pcm)
    decoded = engine.transcribe(pcm, Options())
    engine.close()
    assert decoded.text == segment.text
    assert (decoded.avg_logprob, decoded.no_speech_prob) == pytest.approx((segment.avg_logprob, segment.no_speech_prob))
    words = [(word.word, word.start_s, word.end_s, word.probability) for word in decoded.words]
    assert words == [(word.word, word.start, word.end, pytest.approx(word.probability)) for word in segment.words]


def test_a_decode_is_preempted_between_its_steps(model, encoded):
    asked = []
    engine = load_whisper(model)
    with pytest.raises(Preempted):  # after it was encoded
        engine.transcribe(SILENCE, Options(is_preempted=lambda: asked.append(1) or len(asked) == 2))
    engine.close()
    assert encoded == [3000]


@pytest.mark.parametrize("file", ["model.bin", "config.json", "vocabulary.json", "tokenizer.json"])
def test_a_damaged_model_is_one_line(model, file):
    (model / file).write_bytes((model / file).read_bytes()[:-20])
    with pytest.raises(ConfigError, match=f"the model in {model} cannot be used: ") as caught:
        load_whisper(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.bin", "vocabulary.json", "tokenizer.json"])
def test_an_incomplete_model_is_one_line(model, file):
    (model / file).unlink()
    with pytest.raises(ConfigError, match=f"the model in {model} cannot be used: ") as caught:
        load_whisper(model)
    assert "\n" not in str(caught.value)


def test_a_language_that_the_model_does_not_support(model):
    with pytest.raises(ConfigError, match="does not support de; it supports English only"):
        load_whisper(model, language="de")


# ---- windows


def declare_short(model: Path) -> None:
    (model / "voicetap.json").write_text('{"short_windows": true}')


def test_weights_that_support_short_windows_get_them(model, encoded):
    declare_short(model)
    engine = load_whisper(model)
    del encoded[:]  # of the check
    assert engine.transcribe(4 * SILENCE, Options()).text.strip() == tinywhisper.TEXT
    engine.close()
    assert encoded == [500]


def test_weights_trained_for_short_windows_support_them(tmp_path, encoded):
    engine = load_whisper(trained.MODEL)
    pcm = spoken("turn on the kitchen light", tmp_path, "slt")
    assert engine.transcribe(pcm, Options()).text.strip() == "turn on the kitchen light"
    engine.close()
    assert encoded == [3000, 300, 300]


def test_a_wrong_declaration_of_short_windows_is_detected(model, encoded, monkeypatch, caplog):
    declare_short(model)
    decoded = FasterWhisper._generate
    monkeypatch.setattr(
        FasterWhisper,
        "_generate",
        lambda *more, **named: replace(decoded(*more, **named), text="you you" if encoded[-1] < 3000 else "turn on"),
    )
    engine = load_whisper(model)
    engine.transcribe(SILENCE, Options())
    engine.close()
    assert encoded == [3000, 300, 3000]
    assert "decodes 'you you' in a short window and 'turn on' in a full one" in caplog.text


def test_a_damaged_declaration_is_one_line(model):
    (model / "voicetap.json").write_text("[]")
    with pytest.raises(ConfigError, match="voicetap.json cannot be used: it should say"):
        load_whisper(model)


# ---- memory and hallucinations


MEASURE = """
import gc, sys, psutil
sys.path.insert(0, sys.argv[1])
from rig.engines import SILENCE, load_whisper
from voicetap_transcribe.engines.base import Options

def rss_of_a_life(model):
    gc.collect()
    rss = [psutil.Process().memory_info().rss]
    engine = load_whisper(model, compute_type="float32")
    engine.transcribe(SILENCE, Options())
    rss.append(psutil.Process().memory_info().rss)
    engine.close()
    return [*rss, psutil.Process().memory_info().rss]

rss_of_a_life(sys.argv[2])  # the libraries' own memory, which stays
print(*rss_of_a_life(sys.argv[3]))
"""


def test_close_releases_the_memory(tmp_path):
    """In a process of its own: here the memory of earlier tests would be used again."""
    models = tinywhisper.build(tmp_path / "small"), tinywhisper.build(tmp_path / "large", width=768)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), *map(str, models)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, loaded, after = map(int, measured.split())
    assert loaded - before > 60e6, "too small a model to see"
    assert after - before < 0.3 * (loaded - before)  # the libraries keep work space for a model of this size


def test_whisper_decodes_words(tmp_path):
    engine = load_whisper(trained.MODEL)
    result = engine.transcribe(spoken("turn on the kitchen light", tmp_path, "slt"), Options())
    engine.close()
    assert result.text.strip() == "turn on the kitchen light"


def test_noise_and_silence_are_no_text():
    engine = load_whisper(trained.MODEL)
    noise = np.random.default_rng(0).normal(0, 1500, 5 * 16_000)
    for sound in (0 * noise, noise, np.cumsum(noise) / 100):
        for seconds in (1, 5):
            result = engine.transcribe(sound[: seconds * 16_000].astype("<i2").tobytes(), Options())
            assert filter_result(result, seconds) == FilteredResult("", (), "no_speech")
    engine.close()
