"""The table of shutdown times adds up: a bundle and every container stop within BUNDLE_STOP_S."""

import re
from pathlib import Path

import pytest

from voicetap.service import shutdown
from voicetap.service.shutdown import STOPWAITSECS, SUPERVISE_STOP_S

ROOT = Path(__file__).parent.parent
# What each program takes at most from SIGTERM to its exit; supervisord kills transcribe before it is done by itself.
OWN_S = {
    "capture": shutdown.CAPTURE_DRAIN_S + shutdown.CAPTURE_CLOSE_S,
    "vad": shutdown.VAD_DRAIN_S + shutdown.VAD_FAIL_S,
    "transcribe": STOPWAITSECS["transcribe"],
    "journal": shutdown.JOURNAL_DRAIN_S,
}


def test_supervise_kills_what_hangs_within_the_budget():
    assert SUPERVISE_STOP_S + shutdown.KILLED_EXIT_S <= shutdown.BUNDLE_STOP_S


def test_a_bundle_that_drains_has_time_for_it():
    assert shutdown.CAPTURE_DRAIN_S < shutdown.VAD_DRAIN_S < shutdown.SUPERVISE_DRAIN_S


def test_a_bundle_that_cannot_drain_still_reports_what_failed():
    own = (shutdown.VAD_FAIL_S, STOPWAITSECS["transcribe"], shutdown.JOURNAL_IDLE_S)
    assert shutdown.SUPERVISE_DRAIN_S + sum(own) <= SUPERVISE_STOP_S


@pytest.mark.parametrize("program", OWN_S)
def test_a_container_stops_in_order_even_while_its_program_restarts(program):
    assert shutdown.SUPERVISE_SETTLE_S + OWN_S[program] <= SUPERVISE_STOP_S


@pytest.mark.parametrize("program", OWN_S)
def test_supervisord_waits_as_long_as_a_program_takes(program):
    assert OWN_S[program] <= STOPWAITSECS[program] < SUPERVISE_STOP_S


def test_short_waits_are_within_those_they_belong_to():
    assert shutdown.VAD_SOURCES_S < shutdown.VAD_DRAIN_S
    assert shutdown.JOURNAL_IDLE_S < shutdown.JOURNAL_DRAIN_S
    assert shutdown.DECODER_CLOSE_S < STOPWAITSECS["transcribe"]


def test_a_container_that_waits_for_others_stops_within_its_grace_period():
    [grace_s] = re.findall(r"stop_grace_period: (\d+)s", (ROOT / "docker-compose.yml").read_text())
    assert shutdown.UPSTREAM_DRAIN_S + shutdown.SUPERVISE_STOP_S < int(grace_s)
    vad_stop_s = shutdown.SUPERVISE_SETTLE_S + OWN_S["vad"]
    assert vad_stop_s < shutdown.UPSTREAM_DRAIN_S


def test_systemd_compose_and_bundle_wait_longer_than_the_budget():
    unit = (ROOT / "deploy/voicetap.service").read_text()
    [stop_s] = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    [grace_s] = re.findall(r"stop_grace_period: (\d+)s", (ROOT / "docker-compose.yml").read_text())
    assert shutdown.BUNDLE_STOP_S < min(shutdown.BUNDLE_KILL_S, int(stop_s), int(grace_s))
