"""Whisper's decoding without a model: which searches are made, and window sizes."""

import pytest

from voicetap_transcribe.engines import decoding
from voicetap_transcribe.engines.decoding import Candidate


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
    [
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
    assert decoding.search(model, beam_size).text == text
    assert model.searches == searches


def test_no_window_has_the_size_of_encoded_audio():
    """CTranslate2 takes 160 frames for encoded audio with 80 mels, and 256 with 128."""
    assert {decoding.window_frames(frames) for frames in range(1, 3500)} == set(range(200, 3001, 100))
    assert all(decoding.window_frames(frames) >= frames + decoding.MARGIN_FRAMES for frames in range(1, 2900))
