"""When it is worth decoding what is not over yet. Pure.

Words while they are spoken: as often as a share of the workers' time allows. Under load that degrades step by step:
less often, then only whoever began to speak last, then not at all. A pause: as late as it can be, and still decoded
when it turns out to be the end; for most pauses are not.
"""

from dataclasses import dataclass

MIN_PERIOD_S = 0.4
MAX_PERIOD_S = 6.0  # what comes less often helps nobody
SMOOTHING = 0.3  # of costs, the newest counts so much
DEVIATIONS = 3.0  # from the mean, that a decode may take longer than usual and still be in time
ON_THE_WAY_S = 0.1  # to the worker and back; a frame is a third of that
FULL, SLOWER, NEWEST, OFF = "full", "slower", "newest", "off"
UNTAPPED = "untapped"  # nobody wants to read any


@dataclass(frozen=True)
class Plan:
    """`period_s` is from one interim of a source to its next."""

    level: str
    period_s: float = MIN_PERIOD_S


class Pace:
    """`share` is how much of the workers' time interims may take. What early jobs cost shows when they may again."""

    def __init__(self, share: float):
        self.share = share
        self._cost_s = 0.0  # of one
        self._deviation_s = 0.0  # mean and mean deviation, as TCP keeps them of its round trips (RFC 6298)

    def hear(self, decode_s: float) -> None:
        if not self._cost_s:
            self._cost_s, self._deviation_s = decode_s, decode_s / 2
            return
        self._deviation_s += SMOOTHING * (abs(decode_s - self._cost_s) - self._deviation_s)
        self._cost_s += SMOOTHING * (decode_s - self._cost_s)

    def lead_s(self, speakers: int, workers: int) -> float:
        """How long before a pause may be the end its decoding has to begin. For ever, as long as nobody knows."""
        if not self._cost_s:
            return float("inf")
        likely_s = self._cost_s + DEVIATIONS * self._deviation_s
        return ON_THE_WAY_S + likely_s * max(1.0, speakers / max(1, workers))

    def plan(self, speakers: int, workers: int, is_late: bool) -> Plan:
        """`is_late`: finals have to wait as it is."""
        if is_late or not workers:
            return Plan(OFF)
        alone_s = max(MIN_PERIOD_S, self._cost_s / (self.share * workers))
        together_s = max(alone_s, self._cost_s * speakers / (self.share * workers))
        if together_s <= MAX_PERIOD_S:
            return Plan(FULL if together_s == alone_s else SLOWER, together_s)
        return Plan(NEWEST, alone_s) if alone_s <= MAX_PERIOD_S else Plan(OFF)
