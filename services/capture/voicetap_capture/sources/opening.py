"""Opens a device in a thread of its own: PortAudio may take many seconds, or for ever while a sound server hangs.

The thread touches nothing else, and nothing else touches PortAudio until it has ended: PortAudio is not thread-safe,
but does not mind which thread calls it, and PyAudio releases the GIL. A call that hangs cannot be cancelled; the thread
never keeps the process alive.
"""

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


D = TypeVar("D", bound=Closable)


class Opening(Generic[D]):
    """One call of `open_device`. `poll` until it returns a device or raises; or `abandon` it."""

    def __init__(self, open_device: Callable[[], D]):
        self._open_device = open_device
        self._lock = threading.Lock()
        self._device: D | None = None
        self._error: BaseException | None = None
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name="open", daemon=True)
        self._thread.start()

    def poll(self) -> D | None:
        """The device; None while it is not open yet. Raises what `open_device` raised."""
        if self._thread.is_alive():
            return None
        if self._error:
            raise self._error
        return self._device

    def abandon(self, timeout_s: float) -> None:
        """Waits this long for the device and closes it; later, the thread that opened it does so."""
        self._thread.join(timeout_s)
        with self._lock:
            self._is_abandoned = True
            device, self._device = self._device, None
        if device:
            device.close()

    def _run(self) -> None:
        try:
            device = self._open_device()
        except BaseException as error:  # noqa: BLE001  raised where it is awaited
            self._error = error
            return
        with self._lock:
            if not self._is_abandoned:
                self._device = device
                return
        device.close()
