"""Who is killed when, without a process or a clock."""

import pytest

from voicetap_watchdog.judge import Beat, Judge, Kill, Listed, Listing, Report, Start, Tick

SILENT_S, START_S, UNWELL_S = 2.0, 20.0, 60.0


def listed(pid=7, state="RUNNING", exit_status=0, age_s=0.0):
    return Listed((Listing("vad", state, pid, exit_status, age_s),))


def beat(pid=7, state="ready", deadline_s=0.0):
    return Beat("vad", pid, state, deadline_s)


class Story:
    """A judge, and a clock that never makes it late unless told to."""

    def __init__(self):
        self.judge = Judge(SILENT_S, START_S, UNWELL_S)
        self.now_s = 100.0

    def say(self, event):
        return self.judge.step(event, self.now_s)

    def wait(self, seconds):
        effects = []
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            effects += self.judge.step(Tick(), self.now_s)
        return effects


@pytest.fixture
def story():
    return Story()


def kills(effects):
    return [effect.pid for effect in effects if isinstance(effect, Kill)]


def reports(effects):
    return [effect.state for effect in effects if isinstance(effect, Report)]


def test_a_program_that_falls_silent_is_killed(story):
    story.say(listed())
    story.say(beat())
    assert kills(story.wait(1.9)) == []
    assert kills(story.wait(0.3)) == [7]


def test_a_program_never_heard_is_killed_after_its_grace(story):
    story.say(listed())
    assert kills(story.wait(19.9)) == []
    assert kills(story.wait(0.3)) == [7]


def test_a_watchdog_that_comes_late_finds_what_hung_before(story):
    story.say(listed(age_s=3600))
    assert kills(story.wait(2.2)) == [7]


def test_starting_beats_count_as_alive_but_keep_the_grace(story):
    story.say(listed())
    story.say(beat(state="starting"))
    assert kills(story.wait(10)) == []
    for _ in range(20):
        story.say(beat(state="starting"))
        assert kills(story.wait(1)) == []
    assert kills(story.wait(START_S - 1.2)) == []
    assert kills(story.wait(0.5)) == [7]


def test_a_program_too_slow_for_its_grace_gets_twice_as_much_and_the_usual_one_once_heard(story):
    for pid, grace_s in ((7, START_S), (8, 2 * START_S), (9, 4 * START_S), (10, 8 * START_S), (11, 8 * START_S)):
        story.say(listed(pid=pid))
        assert kills(story.wait(grace_s - 0.2)) == []
        assert kills(story.wait(0.5)) == [pid]
    story.say(listed(pid=12))
    story.say(beat(pid=12))
    story.wait(1)
    story.say(listed(pid=13))
    assert kills(story.wait(START_S + 0.3)) == [13]


def test_a_program_that_waits_because_it_kept_crashing_is_left_to_wait(story):
    story.say(listed(age_s=-10))
    assert kills(story.wait(START_S + 9.8)) == []
    assert kills(story.wait(0.5)) == [7]


def test_a_job_past_its_deadline_is_a_hang_though_the_loop_beats(story):
    story.say(listed())
    story.say(beat(state="busy", deadline_s=story.now_s + 0.5))
    assert kills(story.wait(0.4)) == []
    effects = story.wait(0.3)
    assert kills(effects) == [7] and "deadline" in effects[0].reason


def test_a_judge_that_was_late_passes_no_judgement(story):
    story.say(listed())
    story.say(beat(state="busy", deadline_s=story.now_s + 1))
    story.now_s += 60
    assert story.say(Tick()) == []
    assert kills(story.wait(1.9)) == []
    assert kills(story.wait(0.3)) == [7]


def test_beats_of_another_process_prove_nothing(story):
    story.say(listed(age_s=60))
    assert kills(story.wait(1.5)) == []
    story.say(beat(pid=8))
    assert kills(story.wait(0.7)) == [7]


def test_a_kill_that_did_not_help_is_repeated_and_reported_once(story):
    story.say(listed(age_s=60))
    effects = story.wait(5)
    assert kills(effects) == [7, 7, 7]
    assert reports(effects) == ["killed"]


@pytest.mark.parametrize("state", ["STOPPING", "STOPPED", "EXITED"])
def test_what_does_not_run_is_not_judged(story, state):
    story.say(listed(age_s=60))
    story.say(listed(state=state))
    assert kills(story.wait(30)) == []
    assert story.judge.all_well(story.now_s)


def test_restarts_are_counted_and_never_given_up(story):
    effects = []
    for pid in range(1, 10):
        effects += story.say(listed(pid=pid))
        story.wait(1)
    assert reports(effects) == ["restarted"] * 5 + ["flapping"] * 3
    story.say(beat(pid=9))
    for _ in range(70):
        story.say(beat(pid=9))
        story.wait(1)
    assert reports(story.say(listed(pid=10))) == ["restarted"]


def test_a_wrong_configuration_is_said_once_and_left_alone(story):
    story.say(listed())
    stopped = listed(pid=0, state="EXITED", exit_status=78)
    assert reports(story.say(stopped)) == ["failed"]
    assert story.say(stopped) == [] and story.wait(30) == []
    assert story.judge.all_ready()


def test_what_supervisord_gave_up_is_started_again(story):
    assert story.say(listed(pid=0, state="FATAL")) == [Start("vad")]


def test_ready_means_that_all_said_so(story):
    assert not story.judge.all_ready()
    story.say(listed())
    story.say(beat(state="starting"))
    assert not story.judge.all_ready()
    story.say(beat())
    assert story.judge.all_ready()
    story.say(listed(pid=8))
    assert not story.judge.all_ready()


def restart(story, count, every_s, beats):
    """`count` processes one after the other, which beat or do not."""
    for pid in range(8, 8 + count):
        story.say(listed(pid))
        if beats:
            story.say(beat(pid))
        story.wait(every_s)


def test_what_cannot_be_brought_back_makes_the_box_unwell_however_often_it_is_started(story):
    story.say(listed())
    story.say(beat())
    restart(story, 5, every_s=10, beats=False)
    assert story.judge.lost(story.now_s) == [] and story.judge.all_well(story.now_s)
    restart(story, 2, every_s=10, beats=False)
    assert story.judge.lost(story.now_s) == ["vad"] and not story.judge.all_well(story.now_s)
    restart(story, 1, every_s=0.1, beats=True)
    assert story.judge.all_well(story.now_s)


def test_what_is_not_there_at_all_makes_the_box_unwell_but_not_what_only_a_person_can_help(story):
    story.say(listed(0, "BACKOFF"))
    story.wait(UNWELL_S + 1)
    assert story.judge.lost(story.now_s) == ["vad"]
    story.say(listed(0, "EXITED", exit_status=78))
    assert story.judge.lost(story.now_s) == []


def test_our_own_sleep_makes_nobody_unwell(story):
    story.say(listed())
    story.say(beat())
    story.now_s += 2 * UNWELL_S
    story.say(Tick())
    assert story.judge.all_well(story.now_s)


def test_who_is_started_too_often_flaps_until_it_no_longer_is(story):
    story.say(listed())
    restart(story, 5, every_s=5, beats=True)
    assert story.judge.flapping(story.now_s) == {}
    restart(story, 3, every_s=5, beats=True)
    assert story.judge.flapping(story.now_s)["vad"] > 5
    for _ in range(60):
        story.wait(1.0)
        story.say(beat(10))
    assert story.judge.flapping(story.now_s) == {}
