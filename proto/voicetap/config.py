"""Loads the settings: one voicetap.toml, overridden by VOICETAP_* variables.

Every service validates the whole file and environment, so a misspelt name stops the first process that starts, with a
suggestion. Lists are written with `;` in a variable.
"""

import dataclasses
import difflib
import logging
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from . import runtime_dir
from .errors import SettingsError
from .settings import WITHOUT_EFFECT, Settings, contradictions

T = TypeVar("T")
Spec = dataclasses.Field[Any]

log = logging.getLogger("settings")

PREFIX = "VOICETAP_"
CLIENT_SETTINGS = ("runtime_dir", "addresses", "curve_dir")
# Passed from process to process; not settings of a user.
INTERNAL = frozenset(
    PREFIX + name
    for name in (
        "CONFIG",
        "FAILPOINTS",
        "SUPERVISOR_PID",
        "SUPERVISOR_SOCKET",
        "CAPTURE_COUNT",
        "PYTHON",
        "PROGRAMS",
        "WATCHDOG",
        "LOG_DIR",
        "OPEN_FILES",
        "PROGRAM_LOG_DIR",
        "LOG_BYTES",
    )
)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process, with runtime_dir filled in. Raises SettingsError."""
    values = _renamed(_from_file(environ))
    variables = [name for name in environ if name.startswith(PREFIX) and name not in INTERNAL]
    former = former_variables()
    without_effect = {variable(*place) for place in WITHOUT_EFFECT}
    for name in sorted(variables, key=lambda name: name not in former):  # today's names win
        if name in without_effect:
            _warn_without_effect(name)
            continue
        _put(values, *_place(name), environ[name])
    settings = _build(Settings, values, "")
    for text in contradictions(settings):
        raise SettingsError(text)
    return dataclasses.replace(settings, runtime_dir=settings.runtime_dir or runtime_dir.default_path(environ))


def load_for_client(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings by which a tap or a command finds a running bundle: CLIENT_SETTINGS; all others have their defaults.

    A wrong setting elsewhere is logged, not raised, so that a bundle can be stopped and read whatever its file says.
    Raises SettingsError for a wrong value among these few.
    """
    try:
        return load(environ)
    except SettingsError as error:
        log.warning("ignored: %s", error)
    try:
        values = {name: value for name, value in _from_file(environ).items() if name in CLIENT_SETTINGS}
    except SettingsError:
        values = {}  # the warning above was about the file
    found = {name: environ[variable("", name)] for name in CLIENT_SETTINGS if variable("", name) in environ}
    settings = _build(Settings, values | found, "")
    return dataclasses.replace(settings, runtime_dir=settings.runtime_dir or runtime_dir.default_path(environ))


def as_environment(settings: Settings) -> dict[str, str]:
    """The VOICETAP_* variables with which another process loads exactly these settings, whatever its file says."""
    return {variable(section, spec.name): _as_text(value) for section, spec, value in _walk(settings)}


def describe() -> Iterator[tuple[str, str, str, str]]:
    """Every setting as (section, name, default, meaning): for the docs, their test, and `voicetap settings`."""
    for section, spec, value in _walk(Settings()):
        yield section, spec.name, _as_text(value), spec.metadata["doc"]


def variable(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + "_".join(part.upper() for part in (section, name) if part)


def config_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The voicetap.toml in force: $VOICETAP_CONFIG, ./, $XDG_CONFIG_HOME/voicetap/, /etc/voicetap/.

    One in ./ that other users may have written is ignored, and that is logged; an unreadable directory has none.
    """
    if named := environ.get("VOICETAP_CONFIG"):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    places = [Path("voicetap.toml"), Path(home, "voicetap/voicetap.toml"), Path("/etc/voicetap/voicetap.toml")]
    return next((path for path in places if _is_readable(path) and (path != places[0] or _is_trusted(path))), None)


def _is_readable(path: Path) -> bool:
    """Unreadable counts as absent: under systemd's ProtectHome ~/.config is."""
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:
        return False


def _is_trusted(path: Path) -> bool:
    """Whether only this user and root can have written the file: a directory of another user may hold any."""
    for place in (path, path.absolute().parent):
        status = place.stat()
        others = 0o002 if status.st_gid == os.getgid() else 0o022  # most users have a group of their own, and umask 002
        if status.st_uid not in (0, os.getuid()) or status.st_mode & others:
            log.warning("ignored %s: other users may write to %s", path.absolute(), place.absolute())
            return False
    return True


def _from_file(environ: Mapping[str, str]) -> dict[str, Any]:
    if not (path := config_path(environ)):
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values, with names of the version before replaced by today's."""
    for section, name in WITHOUT_EFFECT:
        if isinstance(values.get(section), dict) and values[section].pop(name, None) is not None:
            _warn_without_effect(_dotted(section, name))
    for (section, old), name in _former_names().items():
        target = values.get(section) if section else values
        if isinstance(target, dict) and old in target:
            if name in target:
                raise SettingsError(f"{_dotted(section, old)} is the former name of {name}: set only {name}")
            _warn_renamed(_dotted(section, old), _dotted(section, name))
            target[name] = target.pop(old)
    return values


def _former_names() -> dict[tuple[str, str], str]:
    """(section, former name) of every renamed setting, and its name today."""
    formerly = ((section, spec.metadata["formerly"], spec.name) for section, spec, _ in _walk(Settings()))
    return {(section, old): name for section, old, name in formerly if old}


def former_variables() -> dict[str, tuple[str, str]]:
    """The former variable of every renamed setting, and (section, name) today."""
    return {variable(section, old): (section, name) for (section, old), name in _former_names().items()}


def _warn_renamed(old: str, new: str) -> None:
    log.warning("%s is now called %s; the old name is accepted in this version only", old, new)


def _warn_without_effect(name: str) -> None:
    log.warning("%s has no effect any more: remove it", name)


def _walk(settings: Settings) -> Iterator[tuple[str, Spec, object]]:
    for outer in dataclasses.fields(settings):
        value = getattr(settings, outer.name)
        if dataclasses.is_dataclass(value):
            yield from ((outer.name, spec, getattr(value, spec.name)) for spec in dataclasses.fields(value))
        else:
            yield "", outer, value


def _place(name: str) -> tuple[str, str]:
    places = {variable(section, spec.name): (section, spec.name) for section, spec, _ in _walk(Settings())}
    former = former_variables()
    if name in former:
        _warn_renamed(name, variable(*former[name]))
    elif name not in places:
        raise SettingsError(f"unknown variable {name}{nearest(name, places)}")
    return (places | former)[name]


def _put(values: dict[str, Any], section: str, name: str, text: str) -> None:
    target = values.setdefault(section, {}) if section else values
    if not isinstance(target, dict):
        raise SettingsError(f"{section} is a section, written [{section}]")
    target[name] = text


def _build(cls: type[T], values: dict[str, Any], section: str) -> T:
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in specs:
            raise SettingsError(f"unknown setting {_dotted(section, name)}{nearest(name, specs)}")
    return cls(**{name: _value(specs[name], value, section) for name, value in values.items()})


def _value(spec: Spec, value: object, section: str) -> object:
    name = _dotted(section, spec.name)
    if dataclasses.is_dataclass(spec.type):
        if not isinstance(value, dict):
            raise SettingsError(f"{name} is a section, written [{name}]")
        return _build(spec.type, value, spec.name)  # type: ignore[arg-type]
    return _checked(spec, _typed(spec.type, value, name), name)


def _typed(kind: Any, value: Any, name: str) -> object:
    if kind == tuple[str, ...]:
        items = value.split(";") if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(item.strip() for item in items if item.strip())
    elif kind is bool and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    elif kind in (int, float) and type(value) in (int, float, str):
        return _number(kind, value, name)
    elif type(value) is kind:
        return value
    _reject(kind, value, name)


def _number(kind: type[int] | type[float], value: int | float | str, name: str) -> int | float:
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        _reject(kind, value, name)
    exact = isinstance(value, str) or number == value
    if not exact or not math.isfinite(number):
        _reject(kind, value, name)
    return number


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _reject(kind: Any, value: object, name: str) -> NoReturn:
    raise SettingsError(f"{name} is {value!r}, not {_KINDS.get(kind, 'a list of texts')}")


def _checked(spec: Spec, value: Any, name: str) -> object:
    minimum, maximum, choices = (spec.metadata[key] for key in ("minimum", "maximum", "choices"))
    if choices and value not in choices:
        raise SettingsError(f"{name} is {value!r}{nearest(str(value), choices)}; it may be {', '.join(choices)}")
    # written so that nan is out of range too
    if (minimum is not None and not value >= minimum) or (maximum is not None and not value <= maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise SettingsError(f"{name} is {value}, it must be at least {minimum}{upper}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?`, or an empty text where no name is similar."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
