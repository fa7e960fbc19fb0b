"""What a source is called and where its sound comes from: `kitchen=mic:USB Audio`."""

import re
from dataclasses import dataclass

from .config import nearest
from .errors import SettingsError
from .settings import Settings

KINDS = ("mic", "file", "raw")
_NAME = re.compile(r"[a-z0-9_-]{1,32}")


@dataclass(frozen=True)
class Source:
    """`kind` is mic (argument: device name, or nothing for the default), file or raw (argument: a path)."""

    name: str
    kind: str
    argument: str


def parse(spec: str) -> Source:
    """One `[NAME=]KIND[:ARGUMENT]`; the name defaults to the kind. Raises SettingsError."""
    name, equals, rest = spec.partition("=")
    if not equals or not _NAME.fullmatch(name):  # a path may hold a "=", a name may not
        name, rest = "", spec
    kind, _, argument = rest.partition(":")
    if kind not in KINDS:
        raise SettingsError(f"source {spec!r} is not {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if kind != "mic" and not argument:
        raise SettingsError(f"source {spec!r} needs a path: {kind}:PATH")
    return Source(name or kind, kind, argument)


def parse_all(settings: Settings) -> tuple[Source, ...]:
    """The sources of these settings, in order. Raises SettingsError."""
    sources = tuple(parse(spec) for spec in settings.sources)
    if not sources:
        raise SettingsError("sources is empty: name at least one, such as mic")
    if len({source.name for source in sources}) < len(sources):
        raise SettingsError(f"two sources have the same name: write NAME=… before them ({'; '.join(settings.sources)})")
    return sources
