"""Which language the setting names, and which one an utterance is decoded in."""

import pytest

from rig.engines import no_progress, settings
from rig.jobs import job, speculative
from rig.processes import eventually
from voicetap.errors import ConfigError
from voicetap_transcribe import languages
from voicetap_transcribe.decoder import DecodeDone, Decoder
from voicetap_transcribe.engines import base
from voicetap_transcribe.engines.base import Options, Result
from voicetap_transcribe.engines.pocketsphinx import PocketSphinx


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", ()),
        ("de", ("de",)),
        ("DE", ("de",)),
        ("german", ("de",)),
        ("en-US", ("en",)),
        ("pt_BR.UTF-8", ("pt",)),
        (" de, English;fr ", ("de", "en", "fr")),
        ("de de-AT German", ("de",)),
    ],
)
def test_codes_names_and_locales_are_understood(text, codes):
    assert languages.parse(text) == codes


@pytest.mark.parametrize(("text", "hint"), [("germn", "did you mean german"), ("klingon", "no language klingon")])
def test_another_text_is_one_line(text, hint):
    with pytest.raises(ConfigError, match=hint):
        languages.parse(text)


def test_every_language_of_whisper_has_a_name():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(languages.CODES.values()) == set(_LANGUAGE_CODES)


@pytest.mark.parametrize(
    ("allowed", "last_sure", "chosen"),
    [
        ((), "", ("en", 0.4)),
        ((), "de", ("de", 0.3)),  # "Ja." between German sentences
        (("fr", "nl"), "", ("nl", 0.1)),
        (("fr", "nl"), "de", ("nl", 0.1)),  # which is not allowed any more
        (("de", "en"), "de", ("de", 0.3)),
        (("xx",), "", ("xx", 0.0)),
    ],
)
def test_an_unsure_utterance_is_in_the_language_before_or_an_allowed_one(allowed, last_sure, chosen):
    detected = [("en", 0.4), ("de", 0.3), ("nl", 0.1), ("fr", 0.05)]
    assert languages.choose(detected, allowed, last_sure) == chosen


def test_a_sure_language_is_used_whatever_was_before():
    assert languages.choose([("en", 0.6), ("de", 0.4)], (), "de") == ("en", 0.6)


def test_pocketsphinx_takes_any_name_of_english():
    engine = PocketSphinx()
    engine.load(settings(language="en-GB"), no_progress)
    engine.close()
    with pytest.raises(ConfigError, match="English only, not German"):
        engine.load(settings(language="German"), no_progress)


class Polyglot:
    """Records the language of each source's past, and detects those of the test."""

    name = model = "polyglot"

    def __init__(self, *detected: tuple[str, float]):
        self.detected, self.asked = list(detected), []

    def load(self, settings, progress):
        pass

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        self.asked.append(options.last_language)
        language, probability = self.detected.pop(0)
        return Result(language=language, language_probability=probability)

    def close(self):
        pass


def test_the_last_sure_language_of_a_source_is_remembered(monkeypatch):
    engine = Polyglot(("de", 0.9), ("en", 0.4), ("fr", 0.9), ("fr", 0.9), ("en", 0.8))
    monkeypatch.setattr(base, "load", lambda settings, progress: (engine, ""))
    with Decoder(settings()) as decoder:
        jobs = [job(1), job(2), speculative("interim", 3), speculative("early", 3), job(3)]
        for number, each in enumerate(jobs):
            decoder.decode(each)
            eventually(lambda: len(engine.asked) == number + 1, 5, "decoded")  # noqa: B023
        done: list[object] = []
        eventually(lambda: done.extend(decoder.events()) or isinstance(done[-1], DecodeDone), 5, "done")
    assert engine.asked == ["", "de", "de", "de", "fr"]
