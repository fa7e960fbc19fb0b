"""Latencies of published events relative to known speech. Pure: no socket, no clock."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from statistics import quantiles

from known import Spoken

EARLY_S = 0.3  # an onset may be detected this much too early

STARTED, INTERIM, STOPPED, FINAL = "started", "interim", "stopped", "final"


@dataclass(frozen=True)
class TimedEvent:
    """An event published at `at_s`. `sound_s`: when the onset of a STARTED was captured."""

    at_s: float
    kind: str
    utterance: str
    source: str = ""
    sound_s: float = 0.0
    text: str = ""
    committed: str = ""


@dataclass
class Timing:
    """One utterance; seconds after its onset (`first_interim_s`), its end, or a word. None: was not published."""

    first_interim_s: float | None = None
    endpoint_s: float | None = None
    final_s: float | None = None
    committed_s: list[float] = field(default_factory=list)  # of each word
    words: int = 0
    revised: int = 0  # words published and later changed or removed

    @property
    def endpoint_to_final_s(self) -> float | None:
        return None if None in (self.final_s, self.endpoint_s) else self.final_s - self.endpoint_s


def timings(events: Iterable[TimedEvent], spoken: Sequence[Spoken]) -> list[Timing]:
    """One for each utterance of one source. Of an utterance cut into several, the last final counts."""
    found = [Timing() for _ in spoken]
    by_utterance = defaultdict(list)
    for event in events:
        by_utterance[event.utterance].append(event)
    for of_utterance in by_utterance.values():
        started_s = next((event.sound_s for event in of_utterance if event.kind == STARTED), of_utterance[0].at_s)
        number = sum(1 for each in spoken if each.onset_s <= started_s + EARLY_S) - 1
        if number >= 0:
            _add(found[number], spoken[number], of_utterance)
    return found


def _add(timing: Timing, spoken: Spoken, events: list[TimedEvent]) -> None:
    texts = _until_final([event for event in events if event.kind in (INTERIM, FINAL) and event.text])
    for event in events:
        if event.kind == STOPPED:
            timing.endpoint_s = event.at_s - spoken.end_s
    if texts and timing.first_interim_s is None and texts[0].kind == INTERIM:
        timing.first_interim_s = texts[0].at_s - spoken.onset_s
    timing.revised += sum(_revised(one.text, two.text) for one, two in pairwise(texts))
    if texts and texts[-1].kind == FINAL:
        timing.final_s = texts[-1].at_s - spoken.end_s
        timing.words += len(texts[-1].text.split())
        timing.committed_s += _committed(texts, spoken)


def _until_final(texts: list[TimedEvent]) -> list[TimedEvent]:
    """Without interims after the last final."""
    last = max((number for number, event in enumerate(texts) if event.kind == FINAL), default=len(texts))
    return texts[: last + 1]


def _committed(texts: list[TimedEvent], spoken: Spoken) -> list[float]:
    """The delay of each word of the final. Words are assumed evenly spread: a stand-in model has no real word times."""
    count = len(texts[-1].text.split())
    word_s = (spoken.end_s - spoken.onset_s) / count
    late_s = []
    for event in texts:
        committed = len((event.text if event.kind == FINAL else event.committed).split())
        for number in range(len(late_s), min(committed, count)):
            late_s.append(event.at_s - (spoken.onset_s + (number + 1) * word_s))
    return late_s


def _revised(before: str, after: str) -> int:
    """How many words of `before` are not at their place in `after`."""
    one, two = _words(before), _words(after)
    return len(one) - sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _words(text: str) -> list[str]:
    return ["".join(letter for letter in word.casefold() if letter.isalnum()) for word in text.split()]


def percentile(values: Sequence[float], share: float) -> float:
    """`share` 0.5 is the median."""
    return values[0] if len(values) == 1 else quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def known_values(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
