"""How often it is worth decoding what was said so far: as often as a share of the workers' time allows. Pure.

Under load it degrades step by step: less often, then only whoever began to speak last, then not at all.
"""

from dataclasses import dataclass

MIN_PERIOD_S = 0.4
MAX_PERIOD_S = 6.0  # what comes less often helps nobody
SMOOTHING = 0.3  # of costs, the newest counts so much
FULL, SLOWER, NEWEST, OFF = "full", "slower", "newest", "off"


@dataclass(frozen=True)
class Plan:
    """`period_s` is from one interim of a source to its next."""

    level: str
    period_s: float = MIN_PERIOD_S


class Pace:
    """`share` is how much of the workers' time interims may take. What early jobs cost shows when they may again."""

    def __init__(self, share: float):
        self._share = share
        self._cost_s = 0.0  # of one

    def hear(self, decode_s: float) -> None:
        self._cost_s += (SMOOTHING if self._cost_s else 1.0) * (decode_s - self._cost_s)

    def plan(self, speakers: int, workers: int, is_late: bool) -> Plan:
        """`is_late`: finals have to wait as it is."""
        if is_late or not workers:
            return Plan(OFF)
        alone_s = max(MIN_PERIOD_S, self._cost_s / (self._share * workers))
        together_s = max(alone_s, self._cost_s * speakers / (self._share * workers))
        if together_s <= MAX_PERIOD_S:
            return Plan(FULL if together_s == alone_s else SLOWER, together_s)
        return Plan(NEWEST, alone_s) if alone_s <= MAX_PERIOD_S else Plan(OFF)
