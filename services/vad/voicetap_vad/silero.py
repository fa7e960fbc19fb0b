"""Silero's ONNX model: how much each frame sounds like speech. The only file that imports onnxruntime.

The package silero_vad is never imported, since that would need torch; it only brings the model file along.
"""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime

from voicetap.errors import ConfigError
from voicetap.messages import FRAME_SAMPLES

CONTEXT_SAMPLES = 64  # of the frame before go in with each; fed frames alone, the model never fires, and says nothing
FULL_SCALE = 32768.0
_FILE = "data/silero_vad_16k_sequence.onnx"  # judges as the others do, to the last bit, and many frames at a time
_INPUTS, _OUTPUTS = ("input", "h", "c"), ("speech_probs", "hn", "cn")


def model_path() -> Path:
    """Where the model file is. Raises ConfigError."""
    package = importlib.util.find_spec("silero_vad")  # finds the package, runs none of it
    if not package or not package.submodule_search_locations:
        raise ConfigError("the package silero-vad is not installed: it brings the VAD model")
    path = Path(package.submodule_search_locations[0], _FILE)
    if not path.is_file():
        raise ConfigError(f"no VAD model at {path}: install silero-vad 6.2 or later")
    return path


def load(path: Path) -> onnxruntime.InferenceSession:
    """The model, for any number of streams. Raises ConfigError when the file is not one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning burns a core
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  onnxruntime raises a class of its own for each kind of damage
        raise ConfigError(f"the VAD model {path} cannot be loaded: {error}") from None


class Silero:
    """The model listening to one stream: its memory and context belong to that stream alone."""

    def __init__(self, session: onnxruntime.InferenceSession):
        self._session = session
        self.reset()

    def reset(self) -> None:
        """Forgets what was heard: what comes next does not follow on it."""
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros((1, CONTEXT_SAMPLES), np.float32)

    def probabilities(self, pcm: bytes) -> list[float]:
        """Of speech in each of these frames, which follow on the one before; together they cost less."""
        samples = np.frombuffer(pcm, "<i2").reshape(-1, FRAME_SAMPLES) / np.float32(FULL_SCALE)
        before = np.concatenate([self._context, samples[:-1, -CONTEXT_SAMPLES:]])
        self._context = samples[-1:, -CONTEXT_SAMPLES:]
        fed = zip(_INPUTS, (np.concatenate([before, samples], axis=1), self._hidden, self._cell), strict=True)
        found, self._hidden, self._cell = self._session.run(_OUTPUTS, dict(fed))
        return found.tolist()
