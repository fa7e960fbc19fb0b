"""Opens what a source in the settings names. Each kind is imported only where it is wanted: they are slow to."""

from voicetap.settings import CaptureSettings
from voicetap.source_spec import SourceSpec

from .service import Source


def open_source(spec: SourceSpec, settings: CaptureSettings, position: int) -> Source:
    """Raises ConfigError for what can never be heard. A file is gone on with at sample `position`."""
    realtime = settings.pace == "realtime"
    if spec.kind == "file":
        from .file import File

        return File(spec.argument, position, realtime)
    if spec.kind == "raw":
        from .raw import open_raw

        return open_raw(spec.argument, position, realtime)
    from .microphone import Microphone
    from .reopening import Reopening

    return Reopening(
        lambda: Microphone(spec.argument, settings.channel), settings.device_timeout_s, settings.retry_max_s
    )
