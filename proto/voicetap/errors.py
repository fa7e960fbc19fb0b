"""What users and operators cause, as exceptions whose text is one line to act on, and the exit codes they become."""

EX_TEMPFAIL = 75  # sysexits.h: not available now, try again
EX_CONFIG = 78  # sysexits.h: no restart will cure it


class SettingsError(ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


class ConfigError(ValueError):
    """No restart will cure it: no such device, no such model."""


class Unavailable(RuntimeError):
    """Something cannot be had now, but may be at the next start."""


class AddressInUse(Unavailable):
    """A live instance holds the name; the text says which process."""
