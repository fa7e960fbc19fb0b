"""When which process could not work. A loss is excused where its cause was, and nowhere else."""

from collections import defaultdict

Period = tuple[float, float]  # from and to, in seconds of the timeline
ALWAYS_S = float("inf")


class Disturbances:
    """By the name of the process: when it was frozen, and when it was absent, from an exit to its next turn."""

    def __init__(self) -> None:
        self.frozen: dict[str, list[Period]] = defaultdict(list)
        self.absent: dict[str, list[Period]] = defaultdict(list)

    def on_freeze(self, name: str, now_s: float, seconds: float) -> None:
        self.frozen[name].append((now_s, now_s + seconds))

    def on_exit(self, name: str, now_s: float) -> None:
        self.frozen[name] = [(from_s, min(to_s, now_s)) for from_s, to_s in self.frozen[name]]
        self.absent[name].append((now_s, ALWAYS_S))

    def on_first_turn(self, name: str, now_s: float) -> None:
        if self.absent[name]:
            self.absent[name][-1] = (self.absent[name][-1][0], now_s)


def overlap(period: Period, within: Period) -> bool:
    return period[0] <= within[1] and within[0] <= period[1]


def covered_s(periods: list[Period], within: Period) -> float:
    """How much of `within` the union of the periods covers, in seconds."""
    sum_s, done_s = 0.0, within[0]
    for from_s, to_s in sorted(periods):
        from_s, to_s = max(from_s, done_s), min(to_s, within[1])
        if to_s > from_s:
            sum_s, done_s = sum_s + to_s - from_s, to_s
    return sum_s
