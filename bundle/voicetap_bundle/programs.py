"""Which programs a bundle consists of: the names that beat, and that supervisord knows."""

from voicetap import source_spec
from voicetap.settings import Settings


def programs_of(settings: Settings) -> tuple[str, ...]:
    """All of them, in the order sound travels. Raises SettingsError for sources that cannot be."""
    captures = (f"capture-{number}" for number, _ in enumerate(source_spec.parse_all(settings), 1))
    workers = (f"transcribe-{number}" for number in range(1, settings.transcribe.workers + 1))
    return (*captures, "vad", *workers, "journal", "watchdog")
