"""Which input device a name in the settings means."""

import pytest

from voicetap_capture.sources.device_matching import InputDevice, find_device


def device(name: str, index: int, is_default: bool = False) -> InputDevice:
    return InputDevice(name, index, 2, 48_000, False, is_default)


DEVICES = [device("USB Audio: - (hw:1,0)", 0), device("usb audio", 3), device("Built-in 7", 7, is_default=True)]


@pytest.mark.parametrize(
    "wanted, index",
    [
        ("", 7),
        ("usb audio", 3),
        ("USB Audio", 0),
        ("USB Audio: - (hw:1,0)", 0),
        ("(hw:1", 0),
        ("built.*7", 7),
        ("^usb audio$", 3),
        ("Jabra | Built-in", 7),
        ("3", 3),
        ("5", None),
        ("Jabra", None),
        ("|", None),
    ],
)
def test_a_device_is_chosen_by_name_and_never_replaced(wanted, index):
    chosen = find_device(wanted, DEVICES)
    assert (chosen.index if chosen else None) == index
