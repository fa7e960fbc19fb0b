"""Which speculative jobs are created, for which of several sources, and how partials degrade under load."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.sample_messages import id_of
from voicetap.codec import UtteranceId
from voicetap.messages import Job, JournalHead, WorkerReport
from voicetap.vocabulary import Purpose
from voicetap_vad.dispatcher import Outbox, SendJob
from voicetap_vad.speculation import (
    MAX_PERIOD_S,
    MIN_PERIOD_S,
    TRANSFER_S,
    PartialLevel,
    PartialPlan,
    SpeculationBudget,
    Speculator,
)

EARLY, INTERIM = Purpose.EARLY, Purpose.INTERIM
FULL, SLOWER, NEWEST, OFF = PartialLevel.FULL, PartialLevel.SLOWER, PartialLevel.NEWEST, PartialLevel.OFF


@dataclass
class FakePartial:
    utterance_id: UtteranceId
    onset_ns: int


@dataclass
class FakeStream:
    """A tracker and its open stream in one. `requested` lists the purposes of the jobs it created."""

    source: str
    onset_ns: int = 0
    ends_in_s: float | None = None
    overdue: float = float("-inf")
    requested: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.partial = FakePartial(id_of(1, self.source), self.onset_ns)
        self.open_stream = self

    def pause_ends_in_s(self) -> float | None:
        return self.ends_in_s

    def partial_overdue(self, period_s: float) -> float:
        return self.overdue - period_s

    def early_job(self) -> Job:
        self.ends_in_s = None
        return self._job(EARLY)

    def partial_job(self) -> Job:
        self.overdue = float("-inf")
        return self._job(INTERIM)

    def _job(self, purpose: str) -> Job:
        self.requested.append(purpose)
        span = {"start_position": 0, "end_position": 1, "ended_ns": 0, "wall_ns": 0}
        return Job(utterance_id=self.partial.utterance_id, attempt=0, cut_reason="", pcm=b"", purpose=purpose, **span)


class FakeDispatcher:
    """Dispatcher without sockets: `sent` lists the source and purpose of each job."""

    def __init__(self, workers: int):
        self.outbox = Outbox(lease_s=1.0, max_attempts=3, max_held_s=10.0, started_s=0.0)
        self.sent: list[tuple[str, str]] = []
        self.step(JournalHead(journal_id="j", first_seq=1, next_seq=1), 0.0)
        for number in range(workers):
            report = {"state": "ready", "received": 0, "decoding": (), "holding": ()}
            self.step(WorkerReport(worker=f"w{number}", boot_id="b1", **report), 0.0)

    def step(self, event: object, now_s: float) -> None:
        sent = [effect.job for effect in self.outbox.step(event, now_s) if isinstance(effect, SendJob)]
        self.sent += [(job.utterance_id.source, job.purpose) for job in sent]


def jobs_sent(streams: list[FakeStream], workers: int, budget: SpeculationBudget) -> list[tuple[str, str]]:
    dispatcher = FakeDispatcher(workers)
    Speculator(streams, dispatcher, budget).step(0.0)
    return dispatcher.sent


def budget_of(decode_s: float, share: float = 0.5) -> SpeculationBudget:
    budget = SpeculationBudget(share)
    budget.update(decode_s)
    return budget


def plan(decode_s: float, speakers: int = 1, workers: int = 1, is_late: bool = False, share: float = 0.5):
    return budget_of(decode_s, share).plan(speakers, workers, is_late)


def test_pauses_come_before_partials_and_the_one_that_ends_soonest_first():
    streams = [FakeStream("a", overdue=9), FakeStream("b", ends_in_s=0.2), FakeStream("c", ends_in_s=0.1)]
    assert jobs_sent(streams, 1, SpeculationBudget(0.5)) == [("c", EARLY)]
    streams = [FakeStream("a", overdue=9), FakeStream("b", ends_in_s=0.2), FakeStream("c", ends_in_s=0.1)]
    assert jobs_sent(streams, 3, SpeculationBudget(0.5)) == [("c", EARLY), ("b", EARLY), ("a", INTERIM)]


def test_a_pause_waits_until_its_decoding_has_to_begin():
    budget = budget_of(0.05)
    assert jobs_sent([FakeStream("a", ends_in_s=0.5)], 1, budget) == []
    assert jobs_sent([FakeStream("a", ends_in_s=0.2)], 1, budget) == [("a", EARLY)]


def test_partials_are_created_only_if_a_tap_wants_them():
    dispatcher, stream = FakeDispatcher(1), FakeStream("a", overdue=9)
    speculator = Speculator([stream], dispatcher, SpeculationBudget(0.5))
    speculator.is_tapped = False
    speculator.step(0.0)
    assert (dispatcher.sent, speculator.level(0.0)) == ([], PartialLevel.UNTAPPED)
    speculator.is_tapped = True
    speculator.step(0.0)
    assert (dispatcher.sent, speculator.level(0.0)) == ([("a", INTERIM)], FULL)


def test_the_most_overdue_partial_comes_first_and_none_before_it_is_due():
    streams = [FakeStream("a", overdue=1), FakeStream("b", overdue=3), FakeStream("c", overdue=0.1)]
    assert jobs_sent(streams, 3, SpeculationBudget(0.5)) == [("b", INTERIM), ("a", INTERIM)]
    assert streams[2].requested == []


def test_no_partials_if_they_are_disabled():
    streams = [FakeStream("a", overdue=9), FakeStream("b", ends_in_s=0.1)]
    assert jobs_sent(streams, 2, SpeculationBudget(0.0)) == [("b", EARLY)]


@pytest.mark.parametrize("decode_s", [1.1, 2.9])
def test_under_load_only_the_utterance_that_started_last_has_partials(decode_s):
    first, last = FakeStream("a", onset_ns=1, overdue=99), FakeStream("b", onset_ns=3, overdue=9)
    between = FakeStream("c", onset_ns=2, overdue=99)
    budget = budget_of(decode_s)
    assert budget.plan(3, 1, is_late=False).level == NEWEST
    assert jobs_sent([first, last, between], 1, budget) == [("b", INTERIM)]


def test_under_more_load_there_are_none():
    assert jobs_sent([FakeStream("a", overdue=99)], 1, budget_of(19.0)) == []


def test_an_utterance_whose_partial_is_being_decoded_gets_no_second():
    stream = FakeStream("a", overdue=9)
    dispatcher = FakeDispatcher(2)
    speculator = Speculator([stream], dispatcher, SpeculationBudget(0.5))
    speculator.step(0.0)
    stream.overdue = 9
    speculator.step(0.0)
    assert dispatcher.sent == [("a", INTERIM)]


# ---- the budget ---------------------------------------------------------------------------------


def test_the_period_keeps_the_cost_within_the_share():
    assert plan(0.1) == PartialPlan(FULL, MIN_PERIOD_S)
    assert plan(0.3) == plan(0.3, speakers=0) == PartialPlan(FULL, 0.6)
    assert plan(0.3, speakers=2) == PartialPlan(SLOWER, 1.2)
    assert plan(0.3, speakers=2, workers=2) == PartialPlan(SLOWER, 0.6)


def test_under_load_it_degrades_step_by_step():
    levels = [plan(0.3, speakers).level for speakers in (1, 2, 10, 11, 100)]
    assert levels == [FULL, SLOWER, SLOWER, NEWEST, NEWEST]
    assert plan(0.3, speakers=11).period_s == 0.6, "the one that is left has them often again"
    assert plan(3.1).level == OFF
    assert plan(0.1, is_late=True).level == OFF
    assert plan(0.1, workers=0).level == OFF


def test_it_recovers_when_decoding_gets_cheaper():
    budget = budget_of(20.0)
    assert budget.plan(1, 1, is_late=False).level == OFF
    for _ in range(10):
        budget.update(0.1)
    assert budget.plan(1, 1, is_late=False).level == FULL


def test_the_lead_covers_the_measured_decode_times():
    budget = SpeculationBudget(0.5)
    assert budget.lead_s(1, 1) == float("inf"), "at once, before the first measurement"
    for _ in range(20):
        budget.update(0.2)
    steady_s = budget.lead_s(1, 1)
    assert TRANSFER_S + 0.2 <= steady_s < TRANSFER_S + 0.21
    assert budget.lead_s(2, 2) == steady_s
    assert budget.lead_s(3, 1) == pytest.approx(TRANSFER_S + 3 * (steady_s - TRANSFER_S))
    budget.update(0.4)
    assert budget.lead_s(1, 1) > TRANSFER_S + 0.4, "a decode that was slow may be slow again"


@given(st.floats(0.001, 10), st.integers(1, 16), st.integers(1, 4), st.floats(0.05, 1))
def test_no_plan_takes_more_than_the_share(decode_s, speakers, workers, share):
    found = plan(decode_s, speakers, workers, share=share)
    served = {FULL: speakers, SLOWER: speakers, NEWEST: 1, OFF: 0}[found.level]
    assert served * decode_s / found.period_s <= share * workers * 1.000001
    assert MIN_PERIOD_S <= found.period_s <= MAX_PERIOD_S
