"""What to try when Whisper is not sure of its words, and which try to believe. Pure: the model is a function."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .guards import MAX_COMPRESSION_RATIO, NO_SPEECH_LOGPROB, NO_SPEECH_PROB, compression_ratio, loop_start

SURE_LOGPROB = -0.6  # the greedy search's words are nearly always the beam's from here on
DOUBTFUL_LOGPROB = -1.0
WARMTH = 0.4  # one second try; Whisper's own ladder of six makes noise six times as dear


@dataclass(frozen=True)
class Guess:
    """Tokens, and what they say."""

    tokens: list[int]
    text: str
    avg_logprob: float
    no_speech_prob: float

    @property
    def is_loop(self) -> bool:
        return loop_start(self.text.split()) is not None or compression_ratio(self.text) > MAX_COMPRESSION_RATIO

    @property
    def is_sure(self) -> bool:
        return self.avg_logprob >= SURE_LOGPROB and not self.is_loop

    @property
    def is_doubtful(self) -> bool:
        is_silence = self.no_speech_prob > NO_SPEECH_PROB and self.avg_logprob < NO_SPEECH_LOGPROB
        return self.is_loop or self.avg_logprob < DOUBTFUL_LOGPROB and not is_silence


class Generate(Protocol):
    def __call__(self, *, beam_size: int, temperature: float, with_previous: bool) -> Guess:
        """One decode; `with_previous` prompts it with what was said before."""


def best_guess(generate: Generate, beam_size: int) -> Guess:
    """As good as the beam search wherever that has something to say, at the price of the greedy one elsewhere."""
    guesses = []
    for guess in _tries(generate, beam_size):
        guesses.append(guess)
        if guess.is_sure:
            return guess
    return max(guesses, key=lambda guess: (not guess.is_loop, guess.avg_logprob))


def _tries(generate: Generate, beam_size: int) -> Iterator[Guess]:
    yield (guess := generate(beam_size=1, temperature=0.0, with_previous=True))
    if beam_size > 1:
        yield (guess := generate(beam_size=beam_size, temperature=0.0, with_previous=True))
    if guess.is_doubtful:  # the words before may have led it astray
        yield generate(beam_size=1, temperature=WARMTH, with_previous=False)
