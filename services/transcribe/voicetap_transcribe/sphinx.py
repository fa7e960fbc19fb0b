"""pocketsphinx: needs no download, hears English only, and makes about three mistakes in ten words.

It subtracts the mean cepstrum: room, microphone and voice. The mean of a whole utterance needs one call, which holds
the GIL for seconds; block by block it is guessed from the utterances before, which makes half of the words wrong, and
others after a restart. So the mean is taken first, without a search.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pocketsphinx import Decoder

from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings

from .engine import Options, Progress, Result, look_up

FRAME_S = 0.01
BLOCK_BYTES = 3200  # 0.1 s; it holds the GIL while it computes, so a whole utterance would stop the heartbeat
_NO_SEARCH = "#JSGF V1.0; grammar nothing; public <word> = a;"  # as good as none: ending an utterance searches
_NOT_WORDS = ("<", "[", "+")  # <s>, <sil>, [NOISE], ++UH++


class PocketSphinx:
    """The acoustic model, language model and dictionary that come with the package."""

    name = "pocketsphinx"
    model = "en-us"

    def load(self, settings: Settings, progress: Progress) -> None:
        language = settings.transcribe.language
        if language not in ("", "en"):
            raise ConfigError(
                f"pocketsphinx knows English only, not {language}: set transcribe.engine = faster-whisper"
            )
        self._decoder = Decoder(samprate=16_000, loglevel="FATAL")
        self._search = self._decoder.current_search()
        self._decoder.add_jsgf_string("nothing", _NO_SEARCH)

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        """Probabilities are the decoder's posteriors, which are hopeful."""
        if not pcm:
            return Result()
        mean = self._cepstral_mean(pcm)
        with self._utterance(self._search):
            self._decoder.set_cmn(mean)
            for offset in range(0, len(pcm), BLOCK_BYTES):
                look_up(options)
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
        """With a front end that remembers none of those before: neither their noise nor their mean."""
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
                word=segment.word.partition("(")[0],  # read(2) is another way to say "read"
                start_s=segment.start_frame * FRAME_S,
                end_s=(segment.end_frame + 1) * FRAME_S,
                probability=min(1.0, segment.prob),  # its logarithms are rounded
            )
            for segment in self._decoder.seg()
            if not segment.word.startswith(_NOT_WORDS)
        )


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
