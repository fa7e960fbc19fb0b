"""Which of the input devices is meant by a name in the settings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class InputDevice:
    """A device that can record, as PortAudio lists it."""

    name: str
    index: int
    channels: int
    default_rate_hz: int
    supports_16_khz: bool
    is_default: bool


def choose(wanted: str, devices: Iterable[InputDevice]) -> InputDevice | None:
    """The device `wanted` names, or None; never another one instead. Empty is the default device.

    `wanted` is a list in order of preference, separated by `|`. Each entry is a device's exact name; else a part of
    a name; else a regular expression, both in any case; and only if no name fits, a device's index.
    """
    known = list(devices)
    if not wanted:
        return next((device for device in known if device.is_default), None)
    for entry in (part.strip() for part in wanted.split("|")):
        if entry and (device := _named(entry, known)):
            return device
    return None


def names(devices: Iterable[InputDevice]) -> str:
    """The devices there are, for a message about one that is not."""
    return ", ".join(repr(device.name) for device in devices) or "none"


def _named(entry: str, devices: list[InputDevice]) -> InputDevice | None:
    for fits in (_is_exactly, _is_part_of, _matches, _is_index_of):
        for device in devices:
            if fits(entry, device):
                return device
    return None


def _is_exactly(entry: str, device: InputDevice) -> bool:
    return entry == device.name


def _is_part_of(entry: str, device: InputDevice) -> bool:
    return not entry.isdigit() and entry.lower() in device.name.lower()


def _matches(entry: str, device: InputDevice) -> bool:
    try:
        return not entry.isdigit() and bool(re.search(entry, device.name, re.IGNORECASE))
    except re.error:
        return False  # a name with a lone bracket is no expression


def _is_index_of(entry: str, device: InputDevice) -> bool:
    return entry == str(device.index)
