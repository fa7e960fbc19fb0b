"""How often interims are made, and of whom, under more and more load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap_vad.pace import FULL, MAX_PERIOD_S, MIN_PERIOD_S, NEWEST, OFF, ON_THE_WAY_S, SLOWER, Pace, Plan


def plan(cost_s: float, speakers: int = 1, workers: int = 1, is_late: bool = False, share: float = 0.5) -> Plan:
    pace = Pace(share)
    pace.hear(cost_s)
    return pace.plan(speakers, workers, is_late)


def test_the_period_keeps_the_cost_within_the_share():
    assert plan(0.1) == Plan(FULL, MIN_PERIOD_S)
    assert plan(0.3) == plan(0.3, speakers=0) == Plan(FULL, 0.6)
    assert plan(0.3, speakers=2) == Plan(SLOWER, 1.2)
    assert plan(0.3, speakers=2, workers=2) == Plan(SLOWER, 0.6)


def test_under_load_it_degrades_step_by_step():
    levels = [plan(0.3, speakers).level for speakers in (1, 2, 10, 11, 100)]
    assert levels == [FULL, SLOWER, SLOWER, NEWEST, NEWEST]
    assert plan(0.3, speakers=11).period_s == 0.6, "and whoever is left has them often again"
    assert plan(3.1).level == OFF
    assert plan(0.1, is_late=True).level == OFF
    assert plan(0.1, workers=0).level == OFF


def test_it_comes_back_when_decoding_gets_cheaper():
    pace = Pace(0.5)
    pace.hear(20.0)
    assert pace.plan(1, 1, is_late=False).level == OFF
    for _ in range(10):
        pace.hear(0.1)
    assert pace.plan(1, 1, is_late=False).level == FULL


def test_a_pause_is_decoded_in_time_by_all_that_is_known():
    pace = Pace(0.5)
    assert pace.lead_s(1, 1) == float("inf"), "at once, as long as nobody knows"
    for _ in range(20):
        pace.hear(0.2)
    steady_s = pace.lead_s(1, 1)
    assert ON_THE_WAY_S + 0.2 <= steady_s < ON_THE_WAY_S + 0.21
    assert pace.lead_s(2, 2) == steady_s and pace.lead_s(3, 1) == pytest.approx(
        ON_THE_WAY_S + 3 * (steady_s - ON_THE_WAY_S)
    )
    pace.hear(0.4)
    assert pace.lead_s(1, 1) > ON_THE_WAY_S + 0.4, "and one that was slow may be again"


@given(st.floats(0.001, 10), st.integers(1, 16), st.integers(1, 4), st.floats(0.05, 1))
def test_no_plan_takes_more_than_the_share(cost_s, speakers, workers, share):
    found = plan(cost_s, speakers, workers, share=share)
    served = {FULL: speakers, SLOWER: speakers, NEWEST: 1, OFF: 0}[found.level]
    assert served * cost_s / found.period_s <= share * workers * 1.000001
    assert MIN_PERIOD_S <= found.period_s <= MAX_PERIOD_S
