"""Input devices by PyAudio: the list of them, and one that is recorded from. The only file that imports it.

Everything happens on one thread and nothing waits: a blocking read on a stopped sound server never returns,
and closing a stream that another thread reads from crashes the process half of the time (measured).
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pyaudio

from voicetap.messages import SAMPLE_RATE_HZ

from .channels import MIX, to_mono
from .quiet import quiet
from .selection import InputDevice, choose, names
from .whereabouts import Whereabouts

BUFFER_SAMPLES = 512
_FORMAT = pyaudio.paInt16
_FOLLOWING = ("", "default", "pulse", "pipewire")  # these mean whatever the sound server thinks best


class DeviceLost(OSError):
    """The device is not there, or not any more. The text says how, and what there is instead."""


def input_devices() -> list[InputDevice]:
    """All devices that can record."""
    with _portaudio() as audio:
        return _devices(audio)


class Microphone:
    """A recording device, opened by `wanted` (see `selection.choose`). Raises DeviceLost.

    `remark`: what people should know about it.
    """

    def __init__(self, wanted: str, channel: int):
        self.remark = ""
        self._is_chosen = wanted not in _FOLLOWING
        self._channel = channel
        self._resampler = None
        with ExitStack() as stack:
            audio = stack.enter_context(_portaudio())
            try:
                self._open(audio, _find(audio, wanted))
            except (OSError, ValueError) as error:
                raise DeviceLost(_text(error)) from None
            stack.callback(self._stream.close)
            self._whereabouts = stack.enter_context(closing(Whereabouts()))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """May hang while the sound server is stopped; then the stall watchdog ends the process."""
        self._stack.close()

    def read(self) -> bytes:
        """What was recorded since the last call, as s16le mono 16 kHz; empty when there is nothing yet."""
        self._look()
        try:
            waiting = self._stream.get_read_available()
            if waiting < self._block:
                return b""
            pcm = self._stream.read(waiting - waiting % self._block, exception_on_overflow=False)
        except OSError as error:
            raise DeviceLost(f"{self.name!r} is gone: {_text(error)}") from None
        mono = to_mono(pcm, self._channels, self._channel)
        return self._resampler.feed(mono) if self._resampler else mono

    def tail(self) -> bytes:
        """What the resampler held back; nothing may be read after this."""
        return self._resampler.feed(b"", last=True) if self._resampler else b""

    def _look(self) -> None:
        moved_to = self._whereabouts.moved_to(time.monotonic())
        if moved_to and self._is_chosen:
            raise DeviceLost(f"{self.name!r} was replaced by {moved_to!r}, by the sound server")
        self.remark = f"the sound server has moved us to {moved_to!r}" if moved_to else ""

    def _open(self, audio: pyaudio.PyAudio, device: InputDevice) -> None:
        self.name = device.name
        self.rate_hz, self._channels = _format(audio, device, self._channel)
        self._block = BUFFER_SAMPLES * self.rate_hz // SAMPLE_RATE_HZ
        if self.rate_hz != SAMPLE_RATE_HZ:
            from .resampler import Resampler  # numpy: 0.1 s of start-up that most devices do not need

            self._resampler = Resampler(self.rate_hz)
        self._stream = audio.open(
            rate=self.rate_hz,
            channels=self._channels,
            format=_FORMAT,
            input=True,
            input_device_index=device.index,
            frames_per_buffer=self._block,
        )


@contextmanager
def _portaudio() -> Iterator[pyaudio.PyAudio]:
    """PortAudio looks for devices once, when it is initialised: whoever waits for one initialises it again."""
    with quiet():
        audio = pyaudio.PyAudio()
        try:
            yield audio
        finally:
            audio.terminate()


def _find(audio: pyaudio.PyAudio, wanted: str) -> InputDevice:
    devices = _devices(audio)
    if device := choose(wanted, devices):
        return device
    missing = f"no input device is called {wanted!r}" if wanted else "there is no default input device"
    raise DeviceLost(f"{missing}; there are: {names(devices)}")


def _devices(audio: pyaudio.PyAudio) -> list[InputDevice]:
    infos = [audio.get_device_info_by_index(index) for index in range(audio.get_device_count())]
    default = _default_index(audio)
    return [
        InputDevice(
            name=str(info["name"]),
            index=info["index"],
            channels=info["maxInputChannels"],
            default_rate_hz=int(info["defaultSampleRate"]),
            supports_16_khz=_supports(audio, info["index"], SAMPLE_RATE_HZ, 1),
            is_default=info["index"] == default,
        )
        for info in infos
        if info["maxInputChannels"] > 0
    ]


def _default_index(audio: pyaudio.PyAudio) -> int:
    try:
        return audio.get_default_input_device_info()["index"]
    except OSError:
        return -1


def _format(audio: pyaudio.PyAudio, device: InputDevice, channel: int) -> tuple[int, int]:
    """The rate and number of channels to open it with: 16 kHz if it can, and as few channels as will do.

    A single wanted channel is never asked for alone: a sound server would mix all of them into it.
    """
    counts = (1, device.channels) if channel == MIX else (max(2, channel + 1), device.channels, 1)
    for rate_hz in (SAMPLE_RATE_HZ, device.default_rate_hz):
        for count in counts:
            if channel < count <= device.channels and _supports(audio, device.index, rate_hz, count):
                return rate_hz, count
    has = f"{device.channels} channels, {device.default_rate_hz} Hz"
    raise DeviceLost(f"{device.name!r} ({has}) cannot be opened for channel {channel}")


def _supports(audio: pyaudio.PyAudio, index: int, rate_hz: int, channels: int) -> bool:
    try:
        return audio.is_format_supported(rate_hz, input_device=index, input_channels=channels, input_format=_FORMAT)
    except ValueError:
        return False


def _text(error: Exception) -> str:
    """PyAudio puts its number before or after its words."""
    return " ".join(str(part) for part in error.args if not isinstance(part, int)) or str(error)
