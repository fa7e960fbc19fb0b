"""pocketsphinx: needs no download, hears English only, and makes about three mistakes in ten words."""

import math

from pocketsphinx import Decoder

from voicetap.messages import Word
from voicetap.node import ConfigError
from voicetap.settings import Settings

from .engine import Options, Progress, Result

FRAME_S = 0.01
BLOCK_BYTES = 3200  # 0.1 s; it holds the GIL while it computes, so a whole utterance would stop the heartbeat
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

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        """Probabilities are the decoder's posteriors, which are hopeful."""
        self._decoder.start_utt()
        try:
            for offset in range(0, len(pcm), BLOCK_BYTES):
                self._decoder.process_raw(pcm[offset : offset + BLOCK_BYTES], no_search=False, full_utt=False)
        finally:
            self._decoder.end_utt()
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
