"""Which numbers journal and the workers speak of: what there is to go by where a cut list was lost. Pure."""

from voicetap.codec import UtteranceId


class Numbers:
    """Of one source, per stream."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._committed: dict[str, int] = {}  # all up to this one

    def __bool__(self) -> bool:
        """Whether any were given before us."""
        return bool(self._highest)

    def learn(self, id_: UtteranceId) -> None:
        """Somebody has this one."""
        self._highest[id_.stream] = max(id_.number, self.highest(id_.stream))

    def learn_committed(self, id_: UtteranceId) -> None:
        """journal has all up to this one."""
        self.learn(id_)
        self._committed[id_.stream] = id_.number

    def highest(self, stream: str) -> int:
        """0 is none."""
        return self._highest.get(stream, 0)

    def unsettled(self, stream: str) -> range:
        """Those before the highest of which journal may have no entry."""
        return range(self._committed.get(stream, 0) + 1, self.highest(stream) + 1)
