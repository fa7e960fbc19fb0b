"""The shipped model decodes sentences that were held out of its training, through the engine."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from rig import speech, trained
from voicetap.settings import Settings, TranscribeSettings
from voicetap_transcribe.engines.base import Options
from voicetap_transcribe.engines.faster_whisper import FasterWhisper

VOICES = {"flite": ("slt", "rms", "awb"), "espeak-ng": ("en-us", "en-us+f3", "en-gb-x-rp+m3")}
SENTENCES = 36
MAX_WER = 0.03  # measured: 0.005 and 0.005
JOINED, MAX_WER_JOINED = 3, 0.08  # sentences joined without pauses; measured: 0.039 and 0.005
AROUND_S = 0.4  # silence before and after a sentence
ENDS_S = (0.48, 0.66, 0.74, 1.18, 1.45)  # of the words of "turn on the kitchen light", by `flite -voice slt -psdur`


@pytest.fixture(scope="module")
def engine() -> Iterator[FasterWhisper]:
    made = FasterWhisper()
    made.load(Settings(transcribe=TranscribeSettings(model=str(trained.MODEL))), print)
    yield made
    made.close()


def spoken(text: str, program: str, voice: str, directory: Path) -> bytes:
    if not speech.have(program):
        pytest.skip(f"{program} is not installed (apt install {program})")
    quiet = speech.silence(AROUND_S)
    return quiet + speech.pcm_of(speech.SPEAKERS[program](text, directory / "spoken.wav", voice).path) + quiet


@pytest.mark.parametrize("program", VOICES)
def test_it_decodes_held_out_sentences(engine, program, tmp_path):
    said = trained.held_out(SENTENCES)
    sounds = [spoken(text, program, voice, tmp_path) for text, voice in zip(said, cycle(VOICES[program]), strict=False)]
    texts = [engine.transcribe(sound, Options()).text for sound in sounds]
    assert speech.word_error_rate(said, texts) <= MAX_WER, list(zip(said, texts, strict=True))
    joined = [b"".join(map(without_silence, each)) for each in in_groups(sounds)]
    said, texts = (
        [" ".join(each) for each in in_groups(said)],
        [engine.transcribe(each, Options()).text for each in joined],
    )
    assert speech.word_error_rate(said, texts) <= MAX_WER_JOINED, list(zip(said, texts, strict=True))


def in_groups(each: list) -> list[list]:
    return [each[place : place + JOINED] for place in range(0, len(each), JOINED)]


def without_silence(pcm: bytes) -> bytes:
    around = len(speech.silence(AROUND_S))
    return pcm[around:-around]


def test_it_times_every_word(engine, tmp_path):
    pcm = spoken("turn on the kitchen light", "flite", "slt", tmp_path)
    result = engine.transcribe(pcm, Options())
    assert [word.word.strip() for word in result.words] == "turn on the kitchen light".split()
    assert [word.end_s - AROUND_S for word in result.words] == pytest.approx(ENDS_S, abs=0.15)


def test_each_word_of_its_vocabulary_is_one_token():
    tokenizer = Tokenizer.from_file(str(trained.MODEL / "tokenizer.json"))
    assert all(len(tokenizer.encode(f" {word}").ids) == 1 for word in trained.words())
