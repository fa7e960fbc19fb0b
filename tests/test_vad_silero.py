"""The model hears speech, and nothing in silence and noise; without its context it would hear nothing at all."""

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


def test_speech_is_heard(model):
    """Fails when frames are fed without the 64 samples before them: then none reaches 0.5."""
    heard = [p > 0.5 for p in probabilities(model, spoken())]
    assert sum(heard) > 0.7 * len(heard)


class Recorder:
    """A session that notes what it is fed."""

    def __init__(self):
        self.inputs: list[np.ndarray] = []

    def run(self, outputs: list[str], fed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        self.inputs.append(fed["input"].copy())
        return np.zeros(1, np.float32), fed["h"], fed["c"]


def test_each_frame_goes_in_behind_the_last_64_samples_of_the_one_before():
    recorder = Recorder()
    sound = spoken()[: 3 * FRAME_BYTES]
    probabilities(Silero(recorder), sound)
    samples = np.concatenate([np.zeros(64), np.frombuffer(sound, "<i2") / 32768]).astype(np.float32)
    assert [list(fed[0]) for fed in recorder.inputs] == [list(samples[n * 512 : n * 512 + 576]) for n in range(3)]


def test_silence_and_noise_are_not(model):
    assert max(probabilities(model, silent(100))) < 0.1
    assert max(probabilities(model, noise(100))) < 0.3


def test_a_reset_forgets_all_that_was_heard(model):
    assert probabilities(model, spoken()) == probabilities(model, spoken())
    model.probabilities(spoken()[:FRAME_BYTES])
    assert model.probabilities(silent(1)) != probabilities(model, silent(1))


def test_many_frames_at_once_are_heard_as_one_by_one(model):
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


def test_a_file_that_is_no_model_is_one_line_to_act_on(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"model\.onnx cannot be loaded"):
        silero.load(tmp_path / "model.onnx")
