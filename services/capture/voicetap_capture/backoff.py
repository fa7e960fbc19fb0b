"""How long to wait before a lost device is tried again."""

EAGER_S = 10.0  # most devices that come back do so soon: a replugged cable, a restarted sound server
EAGER_WAIT_S = 0.15
FIRST_WAIT_S = 0.25


class Backoff:
    """Short waits for the first EAGER_S, then doubled ones up to `max_s`."""

    def __init__(self, max_s: float):
        self._max_s = max_s
        self.reset()

    def reset(self) -> None:
        """The device is there."""
        self._waited_s = 0.0
        self._next_s = FIRST_WAIT_S

    def next_wait_s(self) -> float:
        """The wait after another failure."""
        if self._waited_s < EAGER_S:
            self._waited_s += EAGER_WAIT_S
            return min(EAGER_WAIT_S, self._max_s)
        wait_s = min(self._next_s, self._max_s)
        self._next_s = wait_s * 2
        return wait_s
