"""Matches a device name in the settings with the input devices that exist."""

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


def find_device(wanted: str, devices: Iterable[InputDevice]) -> InputDevice | None:
    """The device that `wanted` names, or None; never another one instead. Empty means the default device.

    `wanted` is a list in order of preference, separated by `|`. Each entry is a device's exact name; else a part of
    a name; else a regular expression, both case-insensitive; and only if no name matches, a device's index.
    """
    present = list(devices)
    if not wanted:
        return next((device for device in present if device.is_default), None)
    for entry in (part.strip() for part in wanted.split("|")):
        if entry and (device := _find_entry(entry, present)):
            return device
    return None


def names(devices: Iterable[InputDevice]) -> str:
    """The names of all devices, for an error message."""
    return ", ".join(repr(device.name) for device in devices) or "none"


def _find_entry(entry: str, devices: list[InputDevice]) -> InputDevice | None:
    for fits in (_is_name, _is_part_of_name, _matches_name, _is_index):
        for device in devices:
            if fits(entry, device):
                return device
    return None


def _is_name(entry: str, device: InputDevice) -> bool:
    return entry == device.name


def _is_part_of_name(entry: str, device: InputDevice) -> bool:
    return not entry.isdigit() and entry.lower() in device.name.lower()


def _matches_name(entry: str, device: InputDevice) -> bool:
    try:
        return not entry.isdigit() and bool(re.search(entry, device.name, re.IGNORECASE))
    except re.error:
        return False  # a name with a lone bracket is no regular expression


def _is_index(entry: str, device: InputDevice) -> bool:
    return entry == str(device.index)
