"""A microphone by PyAudio, without PortAudio: its channels, its rate, its errors."""

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.blocks import SIZES, blocks_of
from voicetap_capture.sources import microphone
from voicetap_capture.sources.microphone import DeviceLost, Microphone
from voicetap_capture.sources.resampler import Resampler


class StubbornAudio:
    """PortAudio with one device that records two channels at 48 kHz, and nothing else."""

    closed: list[str] = []

    def get_device_count(self) -> int:
        return 1

    def get_device_info_by_index(self, index: int) -> dict:
        return {"name": "hw:1,0", "index": 0, "maxInputChannels": 2, "defaultSampleRate": 48_000.0}

    def get_default_input_device_info(self) -> dict:
        return self.get_device_info_by_index(0)

    def is_format_supported(self, rate_hz: int, input_device: int, input_channels: int, input_format: int) -> bool:
        if (rate_hz, input_channels) != (48_000, 2):
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(self, **options: object) -> "StubbornAudio":
        assert (options["rate"], options["channels"]) == (48_000, 2)
        return self

    def get_read_available(self) -> int:
        return 1536 * 2 + 7

    def read(self, frames: int, exception_on_overflow: bool) -> bytes:
        return array("h", [1000, 3000] * frames).tobytes()

    def close(self) -> None:
        self.closed.append("stream")

    def terminate(self) -> None:
        self.closed.append("portaudio")


@pytest.mark.parametrize("channel, level", [(-1, 2000), (0, 1000), (1, 3000)])
def test_a_device_without_16_khz_mono_is_converted(monkeypatch, channel, level):
    monkeypatch.setattr(microphone.pyaudio, "PyAudio", StubbornAudio)
    monkeypatch.setattr(StubbornAudio, "closed", [])
    device = Microphone("hw:1", channel)
    converted = array("h", b"".join(device.read() for _ in range(10)) + device.flush())
    device.close()
    assert (device.name, device.rate_hz) == ("hw:1,0", 48_000)
    assert len(converted) == 10 * 2 * 512
    assert set(converted[2000:-2000]) == {level}
    assert StubbornAudio.closed == ["stream", "portaudio"]


def test_a_channel_the_device_does_not_have_is_one_line(monkeypatch):
    monkeypatch.setattr(microphone.pyaudio, "PyAudio", StubbornAudio)
    with pytest.raises(DeviceLost, match="2 channels, 48000 Hz. cannot be opened for channel 2"):
        Microphone("", 2)


def tone(rate_hz: int, seconds: float, frequency_hz: float, amplitude: int = 20_000) -> bytes:
    angles = (2 * math.pi * frequency_hz * index / rate_hz for index in range(int(rate_hz * seconds)))
    return array("h", [round(amplitude * math.sin(angle)) for angle in angles]).tobytes()


@given(rate_hz=st.sampled_from([8000, 44_100, 48_000]), sizes=SIZES)
def test_resampling_does_not_depend_on_the_blocks(rate_hz, sizes):
    pcm = tone(rate_hz, 0.2, 440)
    whole = Resampler(rate_hz).resample(pcm, last=True)
    resampler = Resampler(rate_hz)
    blocks = [resampler.resample(block) for block in blocks_of(pcm, sizes)]
    assert b"".join(blocks) + resampler.resample(b"", last=True) == whole
    assert len(whole) // 2 == pytest.approx(3200, abs=1)


def test_resampling_keeps_the_tone():
    converted = array("h", Resampler(48_000).resample(tone(48_000, 0.5, 1000), last=True))
    wanted = array("h", tone(16_000, 0.5, 1000))
    middle = range(1000, 7000)
    assert max(abs(converted[index] - wanted[index]) for index in middle) < 100
