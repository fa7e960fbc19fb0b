"""Whisper's decoding without a model: which searches are made, window sizes, and what is decoded again."""

from dataclasses import replace

import numpy as np
import pytest

from voicetap.messages import Word
from voicetap_transcribe import weights
from voicetap_transcribe.engines import decoding, windows
from voicetap_transcribe.engines.base import Result
from voicetap_transcribe.engines.decoding import Candidate, Decoded
from voicetap_transcribe.engines.windows import Window


class FakeModel:
    """Returns the candidates of the test and records the searches."""

    def __init__(self, **candidates: Candidate):
        self.candidates, self.searches = candidates, []

    def __call__(self, *, beam_size: int, temperature: float) -> Candidate:
        name = "warm" if temperature else "wide" if beam_size > 1 else "greedy"
        self.searches.append(name)
        return self.candidates[name]


def candidate(text: str, avg_logprob: float, no_speech_prob: float = 0.0) -> Candidate:
    return Candidate([1], text, avg_logprob, no_speech_prob)


GREEDY, WIDE, WARM = "greedy", "wide", "warm"


@pytest.mark.parametrize(
    ("candidates", "beam_size", "searches", "text"),
    [  # greedy first
        ({"greedy": candidate("a", -0.3)}, 5, [GREEDY], "a"),
        ({"greedy": candidate("a", -0.7), "wide": candidate("b", -0.5)}, 5, [GREEDY, WIDE], "b"),
        ({"greedy": candidate("a", -0.7), "wide": candidate("b", -0.8)}, 5, [GREEDY, WIDE], "a"),
        ({"greedy": candidate("a", -0.7)}, 1, [GREEDY], "a"),
        ({"greedy": candidate("a", -1.2), "warm": candidate("b", -0.9)}, 1, [GREEDY, WARM], "b"),
        ({"greedy": candidate("a", -1.2, no_speech_prob=0.9)}, 1, [GREEDY], "a"),  # silence: no retry
        ({"greedy": candidate("ha" * 99, -0.1), "wide": candidate("b", -0.2)}, 5, [GREEDY, WIDE], "b"),
        ({"greedy": candidate("ha" * 99, -0.1), "warm": candidate("b", -1.5)}, 1, [GREEDY, WARM], "b"),
    ],
)
def test_the_search_falls_back_where_a_candidate_is_not_confident(candidates, beam_size, searches, text):
    model = FakeModel(**candidates)
    assert decoding.search(model, beam_size, greedy_first=True).text == text
    assert model.searches == searches


@pytest.mark.parametrize(
    ("candidates", "beam_size", "searches", "text"),
    [
        ({"wide": candidate("a", -0.3)}, 5, [WIDE], "a"),
        ({"wide": candidate("a", -0.9)}, 5, [WIDE], "a"),
        ({"wide": candidate("a", -1.2), "warm": candidate("b", -0.9)}, 5, [WIDE, WARM], "b"),
        ({"greedy": candidate("a", -0.3)}, 1, [GREEDY], "a"),
    ],
)
def test_published_weights_get_beam_search_at_once(candidates, beam_size, searches, text):
    model = FakeModel(**candidates)
    assert decoding.search(model, beam_size, greedy_first=False).text == text
    assert model.searches == searches


# ---- windows


def test_a_window_has_silence_behind_the_audio_in_few_sizes():
    short = Window(15.0, 5.0)
    assert [short.frames(frames) for frames in (0, 999, 1000, 1001, 2450, 2501, 3000)] == [
        1500,
        1500,
        1500,
        1600,
        3000,
        3000,
        3000,
    ]


def test_no_window_has_the_size_of_encoded_audio():
    """CTranslate2 takes 160 frames for encoded audio with 80 mels, and 256 with 128."""
    for window in (windows.DECLARED.final, *(plan.final for plan in windows.MEASURED.values())):
        assert {window.frames(frames) for frames in range(1, 3500)} <= set(range(200, 3001, 100))
        assert all(window.frames(frames) >= frames for frames in range(1, 3000))


def test_behind_the_audio_is_digital_silence_or_zeros():
    features = np.linspace(-0.5, 1.0, 6, dtype=np.float32).reshape(2, 3)
    assert windows.pad(features, 5, floor=True)[0, :, 3:].tolist() == [[-1.0, -1.0], [-1.0, -1.0]]
    assert windows.pad(features, 5, floor=False)[0, :, 3:].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert windows.pad(features, 2, floor=True)[0].tolist() == features[:, :2].tolist()
    assert windows.pad(features[:, :0], 2, floor=True).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_every_model_has_a_plan(tmp_path):
    assert windows.plan_of("Systran/faster-whisper-tiny.en", tmp_path).final == Window(15.0, 5.0)
    assert windows.plan_of("Systran/faster-whisper-small", tmp_path) == windows.FULL
    assert windows.plan_of("", tmp_path) == windows.UNKNOWN
    assert set(windows.MEASURED) <= set(weights.PINS)
    (tmp_path / "voicetap.json").write_text('{"short_windows": true}')
    assert windows.plan_of("", tmp_path) == windows.DECLARED


# ---- what is decoded again


def bits(*spans_s: tuple[float, float], seconds: float = 20.0) -> bytes:
    """A Job's `speech` with speech in these spans."""
    starts_s = np.arange(int(seconds / 0.032)) * 0.032
    speech = np.any([(starts_s >= start) & (starts_s < end) for start, end in spans_s], axis=0)
    return np.packbits(speech, bitorder="little").tobytes()


def timed(*spans_s: tuple[float, float]) -> tuple[Word, ...]:
    return tuple(Word(word="a", start_s=start, end_s=end, probability=1.0) for start, end in spans_s)


@pytest.mark.parametrize(
    ("speech", "words", "uncovered_s"),
    [
        (bits((0, 9)), timed((0.1, 4), (4.2, 8.8)), 0.0),
        (bits((0, 9)), timed((0.1, 4), (4.2, 6)), 2.7),  # the end is missing
        (bits((0, 9)), timed((3, 6), (6, 9)), 2.7),  # the beginning
        (bits((0, 9)), timed((0, 3), (6, 9)), 2.4),  # something in between, but for the margins of the words
        (bits((0, 3), (6, 9)), timed((0, 3), (6, 9)), 0.0),  # a pause
        (bits((0, 1), (8, 9)), (), 2.0),  # no words at all: 1 s and 1 s
        (b"", timed((0, 1)), 0.0),  # not known
        (b"", (), 0.0),
    ],
)
def test_speech_without_words_is_found(speech, words, uncovered_s):
    assert decoding.uncovered_s(words, speech, 9.0) == pytest.approx(uncovered_s, abs=0.07)


def decoded(text: str, avg_logprob: float = -0.2, words: tuple[Word, ...] = (), **more: float) -> Decoded:
    return Decoded(candidate(text, avg_logprob, **more), words)


ALL, HALF = timed((0, 4), (4, 9)), timed((0, 4))


@pytest.mark.parametrize(
    ("short", "is_incomplete"),
    [
        (decoded("all", words=ALL), False),
        (decoded("half", words=HALF), True),
        (decoded("unsure", -0.6, words=ALL), True),
        (decoded("silence", -1.1, words=ALL, no_speech_prob=0.8), False),
        (decoded("again " * 8, words=ALL), True),
    ],
)
def test_a_short_window_is_decoded_again_in_full_where_something_is_wrong(short, is_incomplete):
    assert decoding.is_incomplete(short, bits((0, 9)), 9.0, again_below=-0.5) == is_incomplete


@pytest.mark.parametrize(
    ("short", "full", "wins"),
    [
        (decoded("half", words=HALF), decoded("full", -0.9, words=ALL), "full"),
        (decoded("all", -0.6, words=ALL), decoded("half", words=HALF), "all"),
        (decoded("half", -0.3, words=HALF), decoded("full", -0.4, words=HALF), "full"),
        (decoded("all", -0.6, words=ALL), decoded("full", -0.7, words=ALL), "full"),
        (decoded("all", -0.6, words=ALL), decoded("again " * 8, words=ALL), "all"),
        (decoded("again " * 8, words=ALL), decoded("full", words=HALF), "full"),
        (decoded("no " * 8, no_speech_prob=0.4), decoded("go " * 8, no_speech_prob=0.2), "no " * 8),
    ],
)
def test_the_better_of_two_windows(short, full, wins):
    assert decoding.better(short, full, bits((0, 9)), 9.0).best.text == wins


def said(text: str, start_s: float, **more: float) -> Decoded:
    """A word per second."""
    spoken = [
        Word(word=f" {word}", start_s=start_s + at, end_s=start_s + at + 1, probability=1.0)
        for at, word in enumerate(text.split())
    ]
    return Decoded(candidate(f" {text}", -0.2, **more), tuple(spoken))


def test_a_stretch_that_no_window_has_words_for_is_decoded_alone_and_put_in_its_place():
    both = said("one two", 0.0)
    both = replace(both, words=(*both.words, *said("seven eight", 6.0).words))
    assert decoding.uncovered_span(both, bits((0, 8)), 8.0) == (2.0, 6.0)
    whole = decoding.inserted(both, said("three four five", 0.5), 2.0)
    assert whole.best.text == " one two three four five seven eight"
    assert [word.start_s for word in whole.words] == [0.0, 1.0, 2.5, 3.5, 4.5, 6.0, 7.0]
    assert decoding.inserted(both, said("thank you", 0.5, no_speech_prob=0.6), 2.0) == both
    assert decoding.inserted(both, said("no " * 9, 0.5), 2.0) == both
    assert decoding.uncovered_span(both, bits((0, 2), (6, 8)), 8.0) is None


def test_a_later_window_gets_the_speech_from_its_beginning_on():
    asked = []
    parts = [Result(text="a", words=timed((0, 20))), Result(text="b", words=timed((0, 9)))]
    speech = bits((0, 20), (25, 29), seconds=40.0)

    def transcribe(features: np.ndarray, its_speech: bytes) -> Result:
        asked.append((features.shape[1], decoding.uncovered_s((), its_speech, 30.0)))
        return parts[len(asked) - 1]

    result = decoding.transcribe_windows(np.zeros((80, 4000), np.float32), speech, transcribe)
    assert result.text == "ab" and result.words[-1].end_s == 29.0
    assert asked == [(3000, pytest.approx(24.0, abs=0.1)), (2000, pytest.approx(4.0, abs=0.1))]
