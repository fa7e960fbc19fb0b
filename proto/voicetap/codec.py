"""Strict msgpack codec: data that does not fit its dataclass raises ProtocolError.

On the wire a message is one msgpack map with a `type` key. Unknown fields, of a newer sender, are skipped. A missing
field without a default, a wrong type, a wrong size or trailing bytes are rejected.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable
from functools import cache as _untyped_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import-untyped]

MAX_MESSAGE_BYTES = 4 << 20  # an utterance of two minutes; a link may set less
MAX_ITEMS = 4096  # of any list; bounds what a hostile header can allocate
MAX_FIELDS = 64  # fields of one message, with room for a newer sender's


class ProtocolError(ValueError):
    """A malformed or oversized message, or one of a type its link does not carry."""


class UtteranceId(NamedTuple):
    """Permanent name of one entry: source, stream, and number within the stream.

    On the wire it is the string `source/stream/number`.
    """

    source: str
    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}/{self.stream}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> "UtteranceId":
        """Raises ProtocolError when `text` is not `source/stream/number`."""
        if not (match := _UTTERANCE_ID.fullmatch(text)):
            raise ProtocolError(f"not an utterance_id: {text[:80]!r}")
        return cls(match[1], match[2], int(match[3]))


_UTTERANCE_ID = re.compile(r"([a-z0-9_-]{1,32})/([a-z0-9]{1,32})/([0-9]{1,15})")
_TYPES: dict[str, type] = {}
_PLAIN = (str, bytes, bool, int, float)  # encoded as they are

Check = Callable[[Any], Any]  # from a wire value to a field value; raises ProtocolError


T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def cache(function: F) -> F:
    """functools.cache, without the type checker's belief that classes are not hashable."""
    return cast(F, _untyped_cache(function))


@dataclass_transform(kw_only_default=True, frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass whose `type` on the wire is its name in snake_case."""
    cls = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    _TYPES[type_name(cls)] = cls
    return cls


def message_types() -> dict[str, type]:
    """Every message class, by its name on the wire."""
    return dict(_TYPES)


@cache
def type_name(cls: Any) -> str:
    """The `type` of a message class on the wire: SpeechStarted is `speech_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def encode(message: object) -> bytes:
    """One message as msgpack bytes."""
    return cast(bytes, msgpack.packb(as_wire(message)))


def as_wire(message: object) -> dict[str, object]:
    """One message as a map of plain values: `type` first, then its fields."""
    return {"type": type_name(type(message))} | _fields_as_wire(message)


def decode(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> object:
    """The message in `data`. Raises ProtocolError unless it is exactly one valid message."""
    if len(data) > max_bytes:
        raise ProtocolError(f"{len(data)} bytes, at most {max_bytes} are allowed")
    try:
        raw = msgpack.unpackb(
            data, max_array_len=MAX_ITEMS, max_map_len=MAX_FIELDS, max_str_len=max_bytes, max_bin_len=max_bytes
        )
    except Exception as error:  # noqa: BLE001  msgpack raises half a dozen unrelated classes
        raise ProtocolError(f"not msgpack: {error}") from None
    if not isinstance(raw, dict) or not isinstance(name := raw.pop("type", None), str):
        raise ProtocolError("not a map with a type")
    if name not in _TYPES:
        raise ProtocolError(f"unknown type {name[:40]!r}")
    return _from_wire(_TYPES[name], raw)


def _fields_as_wire(value: object) -> dict[str, object]:
    names, get, nested = _layout(type(value))
    wire = dict(zip(names, get(value), strict=True))
    for name in nested:
        wire[name] = _value_as_wire(wire[name])
    return wire


@cache
def _layout(cls: Any) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]], tuple[str, ...]]:
    """Field names, a getter of all values at once (frames are frequent), and the names that need conversion."""
    hints = get_type_hints(cls)
    return tuple(hints), attrgetter(*hints), tuple(name for name in hints if hints[name] not in _PLAIN)


def _value_as_wire(value: object) -> object:
    if isinstance(value, UtteranceId):
        return str(value)
    if isinstance(value, tuple):
        return [_value_as_wire(item) for item in value]
    return _fields_as_wire(value) if dataclasses.is_dataclass(value) else value


def _from_wire(cls: type, raw: dict[str, object]) -> object:
    checks = _checks(cls)
    try:
        return cls(**{name: checks[name](value) for name, value in raw.items() if name in checks})
    except ProtocolError as error:
        raise ProtocolError(f"{type_name(cls)}: {error}") from None
    except TypeError as error:  # the dataclass itself names what is missing
        raise ProtocolError(f"{type_name(cls)}: {error}") from None


@cache
def _checks(cls: type) -> dict[str, Check]:
    return {name: _check(name, hint) for name, hint in get_type_hints(cls).items()}


def _check(name: str, hint: Any) -> Check:
    if hint is UtteranceId:
        return lambda value: UtteranceId.parse(_exactly(str, name)(value))
    if hint is float:
        return _number(name)
    if isinstance(hint, types.GenericAlias) and get_origin(hint) is tuple:
        item = _check(name, get_args(hint)[0])
        return lambda value: tuple(item(element) for element in _exactly(list, name)(value))
    if dataclasses.is_dataclass(hint):
        return lambda value: _from_wire(cast(type, hint), _exactly(dict, name)(value))
    return _exactly(hint, name)


def _exactly(kind: type, name: str) -> Check:
    def check(value: object) -> object:
        if type(value) is not kind:  # not isinstance: True is no sequence number
            raise ProtocolError(f"{name} is {type(value).__name__}, not {kind.__name__}")
        return value

    return check


def _number(name: str) -> Check:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ProtocolError(f"{name} is {str(value)[:20]}, not a finite number")
        return float(value)

    return check
