"""The small trained Whisper that is shipped with the tests, and the sentences of its language."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests/data/tiny-whisper"
_text = runpy.run_path(str(ROOT / "tools/tiny-whisper/text.py"))
words, held_out = _text["words"], _text["held_out"]
