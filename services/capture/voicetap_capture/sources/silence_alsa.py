"""Silences ALSA and JACK, which print a hundred lines whenever PortAudio lists devices.

This uses their own error handlers: dup2 of /dev/null over stderr would hide capture's lines as well.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_ALSA_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
_JACK_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


@contextmanager
def alsa_silenced() -> Iterator[None]:
    """For as long as PortAudio is in use. The C libraries keep the callbacks, so they must not be collected."""
    os.environ["JACK_NO_START_SERVER"] = "1"
    alsa_handler = _ALSA_HANDLER(lambda *_: None)
    jack_handler = _JACK_HANDLER(lambda _: None)
    alsa, jack = _library("libasound.so.2"), _library("libjack.so.0")
    if alsa:
        alsa.snd_lib_error_set_handler(alsa_handler)
    if jack:
        jack.jack_set_error_function(jack_handler)
        jack.jack_set_info_function(jack_handler)
    try:
        yield
    finally:
        if alsa:
            alsa.snd_lib_error_set_handler(None)
        if jack:
            jack.jack_set_error_function(None)
            jack.jack_set_info_function(None)


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None  # not installed, so it prints nothing either
