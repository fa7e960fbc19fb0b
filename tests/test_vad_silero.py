"""The model detects speech, and none in silence and noise; without its context it would detect nothing at all."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from rig.vad import silent, spoken
from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES
from voicetap_vad import silero
from voicetap_vad.silero import Silero


@pytest.fixture(scope="module")
def model() -> Silero:
    return Silero(silero.load(silero.model_path()))


def probabilities(model: Silero, pcm: bytes) -> list[float]:
    model.reset()
    return one_by_one(model, pcm)


def one_by_one(model: Silero, pcm: bytes) -> list[float]:
    frames = (pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES))
    return [probability for frame in frames for probability in model.probabilities(frame)]


def noise(frames: int) -> bytes:
    chance = random.Random(1)
    return struct.pack(
        f"<{frames * FRAME_SAMPLES}h", *(chance.randint(-600, 600) for _ in range(frames * FRAME_SAMPLES))
    )


def test_speech_is_detected(model):
    """Without the 64 samples before each frame no probability reaches 0.5."""
    detected = [p > 0.5 for p in probabilities(model, spoken())]
    assert sum(detected) > 0.7 * len(detected)


class Recorder:
    """An inference session that records its inputs."""

    def __init__(self):
        self.inputs: list[np.ndarray] = []

    def run(self, outputs: list[str], fed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        self.inputs.append(fed["input"].copy())
        return np.zeros(1, np.float32), fed["h"], fed["c"]


def test_each_frame_is_preceded_by_the_last_64_samples_of_the_frame_before():
    recorder = Recorder()
    sound = spoken()[: 3 * FRAME_BYTES]
    probabilities(Silero(recorder), sound)
    samples = np.concatenate([np.zeros(64), np.frombuffer(sound, "<i2") / 32768]).astype(np.float32)
    assert [list(fed[0]) for fed in recorder.inputs] == [list(samples[n * 512 : n * 512 + 576]) for n in range(3)]


def test_silence_and_noise_are_not_speech(model):
    assert max(probabilities(model, silent(100))) < 0.1
    assert max(probabilities(model, noise(100))) < 0.3


def test_a_reset_clears_the_state(model):
    assert probabilities(model, spoken()) == probabilities(model, spoken())
    model.probabilities(spoken()[:FRAME_BYTES])
    assert model.probabilities(silent(1)) != probabilities(model, silent(1))


def test_a_batch_of_frames_is_scored_as_one_by_one(model):
    alone = probabilities(model, spoken())
    model.reset()
    cut = 7 * FRAME_BYTES
    assert model.probabilities(spoken()[:cut]) + model.probabilities(spoken()[cut:]) == alone


def test_streams_share_a_model_and_nothing_else(model):
    session = silero.load(silero.model_path())
    one, other = Silero(session), Silero(session)
    alone = probabilities(model, spoken())
    both = []
    for start in range(0, len(spoken()), FRAME_BYTES):
        both += one.probabilities(spoken()[start : start + FRAME_BYTES])
        other.probabilities(noise(1))
    assert both == alone


def test_a_file_that_is_no_model_is_a_config_error(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"model\.onnx cannot be loaded"):
        silero.load(tmp_path / "model.onnx")
