"""Silero's ONNX model: the speech probability of each frame. The only file that imports onnxruntime.

The package silero_vad is never imported, because it needs torch; it only supplies the model file.
"""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime

from voicetap.errors import ConfigError

from .level import amplified, samples_of

CONTEXT_SAMPLES = 64  # of the preceding frame, prepended to each; without them the model never detects speech
_FILE = "data/silero_vad_16k_sequence.onnx"  # bit-identical to the one-frame models, and takes many frames per call
_INPUTS, _OUTPUTS = ("input", "h", "c"), ("speech_probs", "hn", "cn")


def model_path() -> Path:
    """The path of the model file. Raises ConfigError when it is not installed."""
    package = importlib.util.find_spec("silero_vad")  # locates the package without importing it
    if not package or not package.submodule_search_locations:
        raise ConfigError("the package silero-vad is not installed: it brings the VAD model")
    path = Path(package.submodule_search_locations[0], _FILE)
    if not path.is_file():
        raise ConfigError(f"no VAD model at {path}: install silero-vad 6.2 or later")
    return path


def load(path: Path) -> onnxruntime.InferenceSession:
    """An inference session that any number of streams can share. Raises ConfigError when the file is no model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning burns a core
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  onnxruntime raises a class of its own for each kind of damage
        raise ConfigError(f"the VAD model {path} cannot be loaded: {error}") from None


class Silero:
    """The model's recurrent state and context for one stream."""

    def __init__(self, session: onnxruntime.InferenceSession):
        self._session = session
        self.reset()

    def reset(self) -> None:
        """Clears the state: the next frame does not follow the last one."""
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros((1, CONTEXT_SAMPLES), np.float32)

    def probabilities(self, pcm: bytes, gains: np.ndarray | None = None) -> list[float]:
        """The speech probability of each frame in `pcm`: s16le, whole frames that follow the previous call's.

        `gains`: a row for each frame, of LevelFollower; None leaves the sound as it is. One call for many frames costs
        less than many calls.
        """
        samples = samples_of(pcm)
        if gains is not None:
            samples = amplified(samples, gains)
        before = np.concatenate([self._context, samples[:-1, -CONTEXT_SAMPLES:]])
        self._context = samples[-1:, -CONTEXT_SAMPLES:]
        fed = zip(_INPUTS, (np.concatenate([before, samples], axis=1), self._hidden, self._cell), strict=True)
        found, self._hidden, self._cell = self._session.run(_OUTPUTS, dict(fed))
        return found.tolist()
