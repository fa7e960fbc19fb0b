"""Several channels become one without losing the voice."""

from array import array

import numpy as np
import pytest

from rig.media import write_media
from rig.speech import SENTENCES, have_flite, pcm_of, synthesize, write_wav
from voicetap.errors import ConfigError
from voicetap_capture.sources.channels import MIX, ChannelMixer
from voicetap_capture.sources.file import FileSource

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> np.ndarray:
    if not have_flite():
        pytest.skip("flite is not installed")
    spoken = synthesize(SENTENCES[0], tmp_path_factory.mktemp("speech") / "a.wav")
    return np.frombuffer(pcm_of(spoken.path), "<i2")


def mixed(channels: list[np.ndarray], wanted: int = MIX, block: int = 512) -> tuple[np.ndarray, str]:
    mixer = ChannelMixer(len(channels), wanted)
    interleaved = np.stack(channels, axis=1).astype("<i2")
    blocks = [mixer.to_mono(interleaved[at : at + block].tobytes()) for at in range(0, len(interleaved), block)]
    return np.frombuffer(b"".join(blocks), "<i2"), mixer.note


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-9)


def noise(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, length).astype("<i2")


@pytest.mark.parametrize("channel", range(6))
def test_one_voice_of_six_channels_keeps_its_level(speech, channel):
    channels = [noise(len(speech), seed) for seed in range(6)]
    channels[channel] = speech
    mono, note = mixed(channels)
    assert level_db(mono) == pytest.approx(level_db(speech), abs=0.5)
    assert note == f"channel {channel} of 6"


def test_inverted_stereo_does_not_cancel_out(speech):
    mono, note = mixed([speech, -speech])
    assert level_db(mono) == pytest.approx(level_db(speech), abs=0.2)
    assert note == "channel 0 of 2"


def test_ordinary_stereo_is_mixed(speech):
    quieter = (speech // 2).astype("<i2")
    mono, note = mixed([speech, quieter])
    assert note == "2 channels mixed"
    assert np.abs(mono - (speech.astype(int) + quieter) / 2).max() <= 1


def test_copied_channels_are_unchanged(speech):
    assert (mixed([speech] * 3)[0] == speech).all()


def test_speakers_who_take_turns_are_all_there(speech):
    silence = noise(len(speech), 9)
    turns = [np.concatenate([speech if turn == who else silence for turn in range(3)]) for who in range(3)]
    quiet = [noise(3 * len(speech), seed) for seed in range(3)]
    mono, _ = mixed([*turns, *quiet])
    for turn in range(3):
        assert level_db(mono[turn * len(speech) :][: len(speech)]) == pytest.approx(level_db(speech), abs=0.7)


def test_a_change_of_the_choice_does_not_click():
    tone = (8000 * np.sin(np.arange(RATE_HZ) * 2 * np.pi * 200 / RATE_HZ)).astype("<i2")
    quiet = np.zeros(RATE_HZ, "<i2")
    mono, _ = mixed([np.concatenate([tone, quiet]), np.concatenate([quiet, tone]), np.zeros(2 * RATE_HZ, "<i2")])
    assert np.abs(np.diff(mono.astype(int))).max() < 1.2 * np.abs(np.diff(tone.astype(int))).max()


def test_a_channel_is_picked():
    stereo = array("h", [100, 300, -32768, -32768]).tobytes()
    assert ChannelMixer(2, 1).to_mono(stereo) == array("h", [300, -32768]).tobytes()
    assert ChannelMixer(2, MIX).to_mono(stereo) == array("h", [200, -32768]).tobytes()
    assert (ChannelMixer(1, MIX).to_mono(stereo), ChannelMixer(1, MIX).note) == (stereo, "")


def heard(source: FileSource) -> np.ndarray:
    pcm = b""
    while source.state == "live":
        pcm += source.read(1 << 16)
    source.close()
    return np.frombuffer(pcm, "<i2")


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_file_uses_the_channel_that_is_set(tmp_path, speech, wanted):
    stereo = np.stack([noise(len(speech), 1), speech], axis=1)
    source = FileSource(str(write_media(tmp_path / "a.flac", "flac", [(0, stereo)])), 0, False, wanted)
    found = heard(source)
    assert level_db(found) == pytest.approx(level_db(stereo[: len(found), wanted]), abs=0.1)
    assert source.note == f"channel {wanted} of 2"


def test_a_film_with_one_voice_of_six_channels_is_as_loud_as_it(tmp_path, speech):
    channels = [speech if channel == 2 else noise(len(speech), channel) for channel in range(6)]
    source = FileSource(str(write_media(tmp_path / "a.flac", "flac", [(0, np.stack(channels, axis=1))])), 0, False)
    assert level_db(heard(source)) == pytest.approx(level_db(speech), abs=0.5)
    assert source.note == "channel 2 of 6"


def test_a_file_of_inverted_stereo_is_heard(tmp_path, speech):
    stereo = np.stack([speech, -speech], axis=1)
    found = heard(FileSource(str(write_media(tmp_path / "a.flac", "flac", [(0, stereo)])), 0, False))
    assert level_db(found) == pytest.approx(level_db(speech), abs=0.5)


def test_a_channel_that_a_file_does_not_have_is_one_line(tmp_path, speech):
    path = write_media(tmp_path / "a.flac", "flac", [(0, np.stack([speech, speech], axis=1))])
    with pytest.raises(ConfigError, match=r"a\.flac: it has 2 channels, and capture\.channel is 3"):
        FileSource(str(path), 0, False, 3)
    mono = write_wav(tmp_path / "a.wav", speech.tobytes())
    assert len(heard(FileSource(str(mono), 0, False, 3))) == len(speech), "there is but one"
