"""The setting `sources`: the name of a source and where its audio comes from, such as `kitchen=mic:USB Audio`."""

import re
import shlex
from dataclasses import dataclass

from .config import nearest
from .errors import SettingsError
from .settings import Settings

KINDS = ("mic", "file", "raw")
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_URL = re.compile(r"(?:(?:file|raw):)?((?!file:)[a-z][a-z0-9+.-]*://.*)")


@dataclass(frozen=True)
class SourceSpec:
    """`argument` is a device name for the kind mic (empty: the default device), a path for file and raw."""

    name: str
    kind: str
    argument: str


def parse(spec: str) -> SourceSpec:
    """Parses one `[NAME=]KIND[:ARGUMENT]`; the name defaults to the kind. Raises SettingsError."""
    name, equals, rest = spec.partition("=")
    if not equals or not _NAME.fullmatch(name):  # a path may contain "=", a name may not
        name, rest = "", spec
    if url := _URL.fullmatch(rest):
        raise SettingsError(
            f"source {spec!r} is not on this machine: "
            f"ffmpeg -i {shlex.quote(url[1])} -f s16le -ar 16000 -ac 1 - | voicetap up --source stdin"
        )
    kind, _, argument = rest.partition(":")
    if kind not in KINDS:
        raise SettingsError(f"source {spec!r} is not {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if kind != "mic" and not argument:
        raise SettingsError(f"source {spec!r} needs a path: {kind}:PATH")
    return SourceSpec(name or kind, kind, argument)


def parse_all(settings: Settings) -> tuple[SourceSpec, ...]:
    """The sources of these settings, in order. Raises SettingsError."""
    sources = tuple(parse(spec) for spec in settings.sources)
    if not sources:
        raise SettingsError("sources is empty: name at least one, such as mic")
    if len({source.name for source in sources}) < len(sources):
        raise SettingsError(f"two sources have the same name: write NAME=… before them ({'; '.join(settings.sources)})")
    return sources
