"""Input devices by PyAudio: lists them, and records from one as 16 kHz mono. The only file that imports PyAudio.

Never two threads at a time, and once a device is open nothing waits: a blocking read on a stopped sound server never
returns, and closing a stream that another thread reads from crashes the process half of the time (measured). Opening
waits for the sound server: see `opening`.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pyaudio

from voicetap.messages import SAMPLE_RATE_HZ

from .channels import MIX, ChannelMixer
from .device_matching import InputDevice, find_device, names
from .pulse_monitor import PulseMonitor
from .resampler import Resampler
from .silence_alsa import alsa_silenced

BUFFER_SAMPLES = 512
MAX_CHANNELS = 8  # of a real microphone or sound card
_FORMAT = pyaudio.paInt16
_DEFAULT_NAMES = ("", "default", "pulse", "pipewire")  # these mean whichever source the sound server prefers


class DeviceLost(OSError):
    """The device is missing or gone. The text contains the cause, and the devices there are."""


def input_devices() -> list[InputDevice]:
    """All devices that can record."""
    with _portaudio() as audio:
        return _devices(audio)


class Microphone:
    """An open recording device, chosen by `wanted` (see `device_matching.find_device`). Raises DeviceLost.

    `channel` counts from 0, or is MIX. `note` says which channel is used.
    `warning` is a text for users, such as that the recording was moved.
    """

    def __init__(self, wanted: str, channel: int):
        self.warning = ""
        self._is_chosen = wanted not in _DEFAULT_NAMES
        self._channel = channel
        self._resampler = None
        with ExitStack() as stack:
            audio = stack.enter_context(_portaudio())
            try:
                self._open(audio, _wanted_device(audio, wanted))
            except (OSError, ValueError) as error:
                raise DeviceLost(_text(error)) from None
            stack.callback(self._stream.close)
            self._monitor = stack.enter_context(closing(PulseMonitor()))
            self._stack = stack.pop_all()

    @property
    def note(self) -> str:
        return self._mixer.note

    def close(self) -> None:
        """May hang while the sound server is stopped; then the loop timeout ends the process."""
        self._stack.close()

    def read(self) -> bytes:
        """What was recorded since the last call, as s16le mono 16 kHz; empty if less than a block."""
        self._check_source()
        try:
            waiting = self._stream.get_read_available()
            if waiting < self._block:
                return b""
            pcm = self._stream.read(waiting - waiting % self._block, exception_on_overflow=False)
        except OSError as error:
            raise DeviceLost(f"{self.name!r} is gone: {_text(error)}") from None
        mono = self._mixer.to_mono(pcm)
        return self._resampler.resample(mono) if self._resampler else mono

    def flush(self) -> bytes:
        """What the resampler held back; nothing may be read after this."""
        return self._resampler.resample(b"", last=True) if self._resampler else b""

    def _check_source(self) -> None:
        moved_to = self._monitor.poll(time.monotonic())
        if moved_to and self._is_chosen:
            raise DeviceLost(f"{self.name!r} was replaced by {moved_to!r}, by the sound server")
        self.warning = f"the sound server has moved us to {moved_to!r}" if moved_to else ""

    def _open(self, audio: pyaudio.PyAudio, device: InputDevice) -> None:
        self.name = device.name
        self.rate_hz, channels = _format(audio, device, self._channel)
        self._mixer = ChannelMixer(channels, self._channel)
        self._block = BUFFER_SAMPLES * self.rate_hz // SAMPLE_RATE_HZ
        if self.rate_hz != SAMPLE_RATE_HZ:
            self._resampler = Resampler(self.rate_hz)
        self._stream = audio.open(
            rate=self.rate_hz,
            channels=channels,
            format=_FORMAT,
            input=True,
            input_device_index=device.index,
            frames_per_buffer=self._block,
        )


@contextmanager
def _portaudio() -> Iterator[pyaudio.PyAudio]:
    """PortAudio lists devices once, when it is initialised: to find a new device, initialise it again."""
    with alsa_silenced():
        audio = pyaudio.PyAudio()
        try:
            yield audio
        finally:
            audio.terminate()


def _wanted_device(audio: pyaudio.PyAudio, wanted: str) -> InputDevice:
    devices = _devices(audio)
    if device := find_device(wanted, devices):
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
    """The rate and number of channels to open the device with: 16 kHz if it can.

    A single channel is opened only where nothing else is possible: a sound server would mix all channels into it, and
    some cancel out. A device with more than MAX_CHANNELS is such a server; it knows how many there are, we do not.
    """
    if channel == MIX:
        counts = (device.channels if device.channels <= MAX_CHANNELS else 2, 2, 1)
    else:
        counts = (max(2, channel + 1), device.channels, 1)
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
    """The words of a PyAudio error, without the number that stands before or after them."""
    return " ".join(str(part) for part in error.args if not isinstance(part, int)) or str(error)
