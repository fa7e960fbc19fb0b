"""The engine pocketsphinx, with the model of its package."""

import numpy as np
import pytest

from rig.engines import SILENCE, no_progress, settings, spoken
from voicetap.errors import ConfigError
from voicetap_transcribe.engines.base import Options, Preempted
from voicetap_transcribe.engines.pocketsphinx import PocketSphinx


def test_pocketsphinx_decodes_words(tmp_path):
    engine = PocketSphinx()
    engine.load(settings(), no_progress)
    pcm = spoken("the boy was there when the sun rose", tmp_path)
    result = engine.transcribe(pcm, Options())
    assert result.text == "the boy was there when the sun rose"
    assert [word.word for word in result.words] == result.text.split()
    assert all(0 < word.probability <= 1 for word in result.words) and result.avg_logprob < 0
    times_s = [time_s for word in result.words for time_s in (word.start_s, word.end_s)]
    assert times_s == sorted(times_s) and 0.2 < times_s[0] and times_s[-1] < len(pcm) / 32_000
    assert engine.transcribe(SILENCE, Options()).text == engine.transcribe(b"", Options()).text == ""
    engine.close()


def test_pocketsphinx_does_not_depend_on_earlier_utterances(tmp_path):
    engine = PocketSphinx()
    engine.load(settings(), no_progress)
    pcm = spoken("help the woman get back to her feet", tmp_path, voice="kal16")
    first = engine.transcribe(pcm, Options())
    engine.transcribe(np.random.default_rng(0).integers(-9000, 9000, 48_000, np.int16).tobytes(), Options())
    assert engine.transcribe(pcm, Options()) == first
    engine.close()


def test_pocketsphinx_continues_after_being_preempted():
    engine = PocketSphinx()
    engine.load(settings(), no_progress)
    calls = []
    with pytest.raises(Preempted):
        engine.transcribe(SILENCE, Options(is_preempted=lambda: calls.append(1) or len(calls) == 3))
    assert engine.transcribe(SILENCE, Options()).text == ""
    engine.close()


def test_pocketsphinx_supports_english_only():
    with pytest.raises(ConfigError, match="English only, not de"):
        PocketSphinx().load(settings(language="de"), no_progress)
