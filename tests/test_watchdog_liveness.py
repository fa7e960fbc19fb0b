"""LivenessMonitor: which program is killed when, without processes and with a simulated clock."""

import pytest

from voicetap_watchdog.liveness import (
    ABORT_S,
    Abort,
    HeartbeatReceived,
    Kill,
    LivenessMonitor,
    ProcessInfo,
    ProcessList,
    PublishStatus,
    Start,
    Tick,
)

HEARTBEAT_TIMEOUT_S, STARTUP_TIMEOUT_S, GIVE_UP_S = 2.0, 20.0, 60.0


def listed(pid=7, state="RUNNING", exit_status=0, age_s=0.0):
    return ProcessList((ProcessInfo("vad", state, pid, exit_status, age_s),))


def heartbeat(pid=7, state="ready", deadline_s=0.0):
    return HeartbeatReceived("vad", pid, state, deadline_s)


class Story:
    """A monitor, and a clock that advances in steps shorter than LATE_S unless a test sets it."""

    def __init__(self):
        self.monitor = LivenessMonitor(HEARTBEAT_TIMEOUT_S, STARTUP_TIMEOUT_S, GIVE_UP_S)
        self.now_s = 100.0

    def step(self, event):
        return self.monitor.step(event, self.now_s)

    def wait(self, seconds):
        actions = []
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            actions += self.monitor.step(Tick(), self.now_s)
        return actions


@pytest.fixture
def story():
    return Story()


def aborts(actions):
    return [action.pid for action in actions if isinstance(action, Abort)]


def reports(actions):
    return [action.state for action in actions if isinstance(action, PublishStatus)]


def test_a_program_whose_heartbeats_stop_is_killed(story):
    story.step(listed())
    story.step(heartbeat())
    assert aborts(story.wait(1.9)) == []
    assert aborts(story.wait(0.3)) == [7]


def test_a_program_without_a_heartbeat_is_killed_after_its_startup_timeout(story):
    story.step(listed())
    assert aborts(story.wait(19.9)) == []
    assert aborts(story.wait(0.3)) == [7]


def test_a_watchdog_that_starts_late_kills_what_hung_before(story):
    story.step(listed(age_s=3600))
    assert aborts(story.wait(2.2)) == [7]


def test_heartbeats_of_a_starting_program_count_but_keep_its_startup_timeout(story):
    story.step(listed())
    story.step(heartbeat(state="starting"))
    assert aborts(story.wait(10)) == []
    for _ in range(20):
        story.step(heartbeat(state="starting"))
        assert aborts(story.wait(1)) == []
    assert aborts(story.wait(STARTUP_TIMEOUT_S - 1.2)) == []
    assert aborts(story.wait(0.5)) == [7]


def test_the_startup_timeout_doubles_after_each_slow_start_until_the_first_heartbeat(story):
    for pid, factor in ((7, 1), (8, 2), (9, 4), (10, 8), (11, 8)):
        story.step(listed(pid=pid))
        assert aborts(story.wait(factor * STARTUP_TIMEOUT_S - 0.2)) == []
        assert aborts(story.wait(0.5)) == [pid]
    story.step(listed(pid=12))
    story.step(heartbeat(pid=12))
    story.wait(1)
    story.step(listed(pid=13))
    assert aborts(story.wait(STARTUP_TIMEOUT_S + 0.3)) == [13]


def test_restart_backoff_extends_the_startup_timeout(story):
    story.step(listed(age_s=-10))
    assert aborts(story.wait(STARTUP_TIMEOUT_S + 9.8)) == []
    assert aborts(story.wait(0.5)) == [7]


def test_a_job_past_its_deadline_is_a_hang_in_spite_of_heartbeats(story):
    story.step(listed())
    story.step(heartbeat(state="busy", deadline_s=story.now_s + 0.5))
    assert aborts(story.wait(0.4)) == []
    actions = story.wait(0.3)
    assert aborts(actions) == [7] and "deadline" in actions[0].reason


def test_a_monitor_that_was_late_resets_all_timeouts(story):
    story.step(listed())
    story.step(heartbeat(state="busy", deadline_s=story.now_s + 1))
    story.now_s += 60
    assert story.step(Tick()) == []
    assert aborts(story.wait(1.9)) == []
    assert aborts(story.wait(0.3)) == [7]


def test_a_monitor_that_was_late_first_reads_heartbeats_that_are_newer_than_the_pause(story):
    story.step(listed())
    deadline_s = story.now_s + 1
    story.now_s += 60
    assert story.step(listed()) == []
    story.step(heartbeat(state="busy", deadline_s=deadline_s))  # it was sent before the pause
    assert story.wait(0.3) == []
    story.step(heartbeat(state="busy", deadline_s=deadline_s + 60))
    assert story.wait(0.5) == []
    assert aborts(story.wait(1.5)) == [7]


def test_heartbeats_of_another_process_do_not_count(story):
    story.step(listed(age_s=60))
    assert aborts(story.wait(1.5)) == []
    story.step(heartbeat(pid=8))
    assert aborts(story.wait(0.7)) == [7]


def test_an_aborted_program_that_lives_on_is_killed_again_and_again_and_reported_once(story):
    story.step(listed(age_s=60))
    story.step(heartbeat())
    actions = story.wait(2.2)
    assert actions == [Abort("vad", 7, "no heartbeat in time"), PublishStatus("vad", "killed", "no heartbeat in time")]
    assert story.monitor.wait_s(story.now_s) <= ABORT_S
    assert story.wait(0.1) == [] and story.wait(0.3) == [Kill("vad", 7)]
    story.step(heartbeat())  # it was stopped by a signal, and SIGABRT is pending
    assert story.wait(2.1) == [Kill("vad", 7)] * 2


def test_the_successor_of_an_aborted_program_is_not_killed(story):
    story.step(listed(age_s=60))
    assert aborts(story.wait(2.2)) == [7]
    story.step(listed(pid=8))
    story.step(heartbeat(pid=8))
    assert story.wait(1.5) == [] and story.monitor.wait_s(story.now_s) == float("inf")


@pytest.mark.parametrize("state", ["STOPPING", "STOPPED", "EXITED"])
def test_a_program_that_does_not_run_is_not_monitored(story, state):
    story.step(listed(age_s=60))
    story.step(listed(state=state))
    assert aborts(story.wait(30)) == []
    assert story.monitor.is_healthy(story.now_s)


def test_restarts_are_counted_and_never_end(story):
    actions = []
    for pid in range(1, 10):
        actions += story.step(listed(pid=pid))
        story.wait(1)
    assert reports(actions) == ["restarted"] * 5 + ["flapping"] * 3
    story.step(heartbeat(pid=9))
    for _ in range(70):
        story.step(heartbeat(pid=9))
        story.wait(1)
    assert reports(story.step(listed(pid=10))) == ["restarted"]


def test_a_wrong_configuration_is_reported_once_and_not_restarted(story):
    story.step(listed())
    stopped = listed(pid=0, state="EXITED", exit_status=78)
    assert reports(story.step(stopped)) == ["failed"]
    assert story.step(stopped) == [] and story.wait(30) == []
    assert story.monitor.is_ready()


def test_a_program_that_supervisord_marks_fatal_is_started(story):
    assert story.step(listed(pid=0, state="FATAL")) == [Start("vad")]


def test_ready_requires_a_ready_heartbeat_of_every_program(story):
    assert not story.monitor.is_ready()
    story.step(listed())
    story.step(heartbeat(state="starting"))
    assert not story.monitor.is_ready()
    story.step(heartbeat())
    assert story.monitor.is_ready()
    story.step(listed(pid=8))
    assert not story.monitor.is_ready()


def restart(story, count, every_s, with_heartbeats):
    """Replaces the process `count` times, every `every_s` seconds."""
    for pid in range(8, 8 + count):
        story.step(listed(pid))
        if with_heartbeats:
            story.step(heartbeat(pid))
        story.wait(every_s)


def test_a_program_that_restarts_without_heartbeats_makes_the_bundle_unhealthy(story):
    story.step(listed())
    story.step(heartbeat())
    restart(story, 5, every_s=10, with_heartbeats=False)
    assert story.monitor.lost(story.now_s) == [] and story.monitor.is_healthy(story.now_s)
    restart(story, 2, every_s=10, with_heartbeats=False)
    assert story.monitor.lost(story.now_s) == ["vad"] and not story.monitor.is_healthy(story.now_s)
    restart(story, 1, every_s=0.1, with_heartbeats=True)
    assert story.monitor.is_healthy(story.now_s)


def test_a_program_that_cannot_start_makes_the_bundle_unhealthy_unless_it_is_misconfigured(story):
    story.step(listed(0, "BACKOFF"))
    story.wait(GIVE_UP_S + 1)
    assert story.monitor.lost(story.now_s) == ["vad"]
    story.step(listed(0, "EXITED", exit_status=78))
    assert story.monitor.lost(story.now_s) == []


def test_a_pause_of_the_monitor_makes_nothing_unhealthy(story):
    story.step(listed())
    story.step(heartbeat())
    story.now_s += 2 * GIVE_UP_S
    story.step(Tick())
    assert story.monitor.is_healthy(story.now_s)


def test_a_program_that_restarts_too_often_is_flapping_until_restarts_are_rare(story):
    story.step(listed())
    restart(story, 5, every_s=5, with_heartbeats=True)
    assert story.monitor.flapping(story.now_s) == {}
    restart(story, 3, every_s=5, with_heartbeats=True)
    assert story.monitor.flapping(story.now_s)["vad"] > 5
    for _ in range(60):
        story.wait(1.0)
        story.step(heartbeat(10))
    assert story.monitor.flapping(story.now_s) == {}
