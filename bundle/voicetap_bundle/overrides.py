"""Settings given on a command line or to Bundle, laid over voicetap.toml and the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

from voicetap import source_spec
from voicetap.config import variable
from voicetap.errors import SettingsError


def environment(overrides: Mapping[str, object]) -> dict[str, str]:
    """This process's environment with `{"vad.endpoint_ms": 300}` over it. What is None is left as it was."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return os.environ | {_variable(name): _as_text(name, value) for name, value in given.items()}


def absolute(spec: str) -> str:
    """A source as another process, elsewhere, understands it. Raises SettingsError."""
    source = source_spec.parse(spec)
    if source.kind == "mic":
        return spec
    return f"{source.name}={source.kind}:{Path(source.argument).expanduser().absolute()}"


def _variable(name: str) -> str:
    section, _, last = name.rpartition(".")
    return variable(section, last)


def _as_text(name: str, value: object) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    if broken := [item for item in value if ";" in item]:
        raise SettingsError(f"{name}: {broken[0]!r} holds a ';', which separates the items of a list")
    return ";".join(value)
