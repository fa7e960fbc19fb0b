"""An engine that ends every text with a full stop, as the real model does; texts of stand-in models never end.

To measure adaptive endpoints: `PYTHONPATH=bench bench/latency.py --engine full_stop:FullStop --model DIR --sources 1
--set vad.adaptive_endpoint=true`.
"""

from dataclasses import replace

from voicetap_transcribe.engines.base import Options, Result
from voicetap_transcribe.engines.faster_whisper import FasterWhisper


class FullStop(FasterWhisper):
    """faster-whisper with a full stop after every text."""

    name = "full-stop"

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        result = super().transcribe(pcm, options)
        return replace(result, text=f"{result.text}.") if result.text else result
