"""Settings given to Bundle or on a command line: they override voicetap.toml and the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

from voicetap import config, source_spec
from voicetap.errors import SettingsError

# What a bundle in a directory of its own must not share with another one.
PRIVATE_SETTINGS: dict[str, object] = {"journal.data_dir": "", "addresses": (), "curve_dir": "", "tap_group": ""}


def environment(overrides: Mapping[str, object]) -> dict[str, str]:
    """This process's environment plus `overrides`, such as `{"vad.endpoint_ms": 300}`; None overrides nothing."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return os.environ | {_variable(name): _as_text(name, value) for name, value in given.items()}


def absolute(spec: str) -> str:
    """The source with an absolute path, for processes with another working directory. Raises SettingsError."""
    source = source_spec.parse(spec)
    if source.kind == "mic":
        return spec
    return f"{source.name}={source.kind}:{Path(source.argument).expanduser().absolute()}"


def _variable(name: str) -> str:
    section, _, last = name.rpartition(".")
    return config.variable(section, last)


def _as_text(name: str, value: object) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    if broken := [item for item in value if ";" in item]:
        raise SettingsError(f"{name}: {broken[0]!r} holds a ';', which separates the items of a list")
    return ";".join(value)
