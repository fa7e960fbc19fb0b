"""The kinds of audio source, one module each. A module is imported only if its kind is used: imports are slow here."""

from dataclasses import dataclass
from typing import Protocol

from voicetap.settings import CaptureSettings
from voicetap.source_spec import SourceSpec


@dataclass(frozen=True)
class Jump:
    """Audio that starts at sample `position`, beyond the end of what came before; `reason` (a Reason) says why."""

    position: int
    reason: str


class AudioSource(Protocol):
    """Delivers s16le mono 16 kHz audio. `state` is a SourceStatus (live, lost or ended); `detail` explains it.

    `note` says what is used of a source that works, such as one of its channels. `jump` is that of the audio which the
    last `read` returned; None if it follows what was read before. `is_starting`: whether it works is not known yet.

    `live`: audio that is not read in time is lost. Otherwise it waits, and a restarted capture resumes where the last
    process stopped. `realtime`: read at real-time speed although it could be read faster.
    """

    live: bool
    realtime: bool
    state: str
    detail: str
    note: str
    is_starting: bool
    jump: Jump | None

    def read(self, max_bytes: int) -> bytes:
        """Returns whole samples that are available now; never waits."""

    def wait_s(self) -> float:
        """Seconds until `read` may have something to return."""

    def close(self) -> None: ...


def open_source(spec: SourceSpec, settings: CaptureSettings, position: int) -> AudioSource:
    """Opens a source; a file resumes at sample `position`. Raises ConfigError for what can never deliver audio."""
    realtime = settings.pace == "realtime"
    if spec.kind == "file":
        from .file import FileSource

        return FileSource(spec.argument, position, realtime, settings.channel)
    if spec.kind == "raw":
        from .pcm import RawFormat
        from .raw import open_raw

        format_ = RawFormat(settings.raw_rate_hz, settings.raw_channels, settings.raw_encoding, settings.channel)
        return open_raw(spec.argument, position, realtime, format_)
    from .live_device import LiveDevice
    from .microphone import Microphone

    return LiveDevice(
        lambda: Microphone(spec.argument, settings.channel),
        settings.device_timeout_s,
        settings.retry_max_s,
        spec.argument,
    )
