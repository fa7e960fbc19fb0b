"""The engine pocketsphinx: needs no download, supports English only, gets about three words in ten wrong.

It subtracts the cepstral mean of the utterance (room, microphone, voice). Computing it over the whole utterance takes
one call that holds the GIL for seconds. Computed block by block, it is estimated from earlier utterances, which gets
half of the words wrong and gives other results after a restart. So a first pass without search computes the mean.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pocketsphinx import Decoder as SphinxDecoder

from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings

from .. import languages
from .base import Options, Progress, Result

FRAME_S = 0.01
BLOCK_BYTES = 3200  # 0.1 s; each call holds the GIL, so one for a whole utterance would stop the heartbeat
# A grammar that makes the search at the end of an utterance negligible, which cannot be skipped.
_NO_SEARCH = "#JSGF V1.0; grammar nothing; public <word> = a;"
_NOT_WORDS = ("<", "[", "+")  # <s>, <sil>, [NOISE], ++UH++


class PocketSphinx:
    """Uses the acoustic model, language model and dictionary of the package."""

    name = "pocketsphinx"
    model = "en-us"

    def load(self, settings: Settings, progress: Progress) -> None:
        if "en" not in languages.parse(settings.transcribe.language or "en"):
            wanted = settings.transcribe.language
            raise ConfigError(
                f"pocketsphinx supports English only, not {wanted}: set transcribe.engine = faster-whisper"
            )
        self._decoder = SphinxDecoder(samprate=16_000, loglevel="FATAL")
        self._search = self._decoder.current_search()
        self._decoder.add_jsgf_string("nothing", _NO_SEARCH)

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        """Word probabilities are the decoder's posteriors, which are too high."""
        if not pcm:
            return Result()
        mean = self._cepstral_mean(pcm)
        with self._utterance(self._search):
            self._decoder.set_cmn(mean)
            for offset in range(0, len(pcm), BLOCK_BYTES):
                options.check_preempted()
                self._decoder.process_raw(pcm[offset : offset + BLOCK_BYTES], no_search=False, full_utt=False)
        words = self._words()
        return Result(
            text=" ".join(word.word for word in words),
            words=words,
            language="en",
            language_probability=1.0,
            avg_logprob=_mean([math.log(max(word.probability, 1e-6)) for word in words]),
        )

    def close(self) -> None:
        del self._decoder

    def _cepstral_mean(self, pcm: bytes) -> str:
        with self._utterance("nothing"):
            self._decoder.process_raw(pcm, no_search=True, full_utt=True)
            return self._decoder.get_cmn(False)

    @contextmanager
    def _utterance(self, search: str) -> Iterator[None]:
        """Resets the front end, so that noise and mean of earlier utterances have no effect."""
        self._decoder.activate_search(search)
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            yield
        finally:
            self._decoder.end_utt()

    def _words(self) -> tuple[Word, ...]:
        if self._decoder.hyp() is None:
            return ()
        return tuple(
            Word(
                word=segment.word.partition("(")[0],  # read(2) is another pronunciation of "read"
                start_s=segment.start_frame * FRAME_S,
                end_s=(segment.end_frame + 1) * FRAME_S,
                probability=min(1.0, segment.prob),  # computed from rounded logarithms
            )
            for segment in self._decoder.seg()
            if not segment.word.startswith(_NOT_WORDS)
        )


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
