"""bench/timing.py: latencies from events; bench/known.py: onsets and ends of the speech it writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from rig import speech

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in ("known", "timing"):
        sys.modules.pop(name, None)


def event(at_s, kind, text="", committed="", utterance="1", sound_s=0.0):
    from timing import TimedEvent

    return TimedEvent(at_s, kind, utterance, sound_s=sound_s, text=text, committed=committed)


def timings_of(events, *spans):
    from known import Spoken
    from timing import timings

    return timings(events, [Spoken(*span) for span in spans])


def test_latencies_count_from_the_speech():
    events = [
        event(10.2, "started", sound_s=10.05),
        event(10.8, "interim", "one"),
        event(11.5, "interim", "one two", "one"),
        event(12.6, "stopped"),
        event(12.7, "final", "One two, three four."),
    ]
    (found,) = timings_of(events, (10.0, 12.0))
    assert found.first_interim_s == pytest.approx(0.8)
    assert found.endpoint_s == pytest.approx(0.6)
    assert found.final_s == pytest.approx(0.7)
    assert found.endpoint_to_final_s == pytest.approx(0.1)
    assert found.committed_s == pytest.approx([1.0, 1.7, 1.2, 0.7])  # a word every half second
    assert (found.words, found.revised) == (4, 0)


def test_changed_words_are_counted():
    texts = ["a", "a bee", "a sea", "a sea dog", "A sea."]
    events = [event(number, "interim", text) for number, text in enumerate(texts[:-1])] + [event(9, "final", texts[-1])]
    (found,) = timings_of(events, (0.0, 5.0))
    assert found.revised == 2, "bee, and dog"


def test_an_utterance_may_have_no_final():
    events = [event(1.0, "started", sound_s=1.0), event(2.0, "interim", "lost")]
    events += [event(9.0, "started", utterance="2", sound_s=5.0), event(9.5, "final", "late", utterance="2")]
    lost, late = timings_of(events, (1.0, 3.0), (5.0, 7.0))
    assert lost.final_s is None
    assert late.final_s == pytest.approx(2.5), "published late, but its onset was captured at 5"


def test_of_an_utterance_cut_in_two_the_last_final_counts():
    events = [event(1.0, "started", sound_s=1.0), event(2.0, "final", "one")]
    events += [event(2.5, "started", utterance="2", sound_s=2.5), event(4.0, "final", "two", utterance="2")]
    (found,) = timings_of(events, (1.0, 3.0))
    assert (found.final_s, found.words) == (pytest.approx(1.0), 2)


def test_an_interim_after_the_final_is_ignored():
    (found,) = timings_of([event(1.0, "final", "one"), event(1.1, "interim", "two")], (0.0, 0.5))
    assert (found.final_s, found.revised) == (0.5, 0)


@pytest.mark.parametrize("script", ["latency.py", "peers.py"])
def test_the_scripts_that_use_it_have_help(script):
    shown = subprocess.run([sys.executable, BENCH / script, "--help"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--utterances" in shown.stdout


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed")
def test_known_speech_is_at_the_known_times(tmp_path):
    import known

    file = known.build(tmp_path, 2, lead_s=1.0)
    one, two = file.spoken
    assert 1.0 <= file.first_s <= one.onset_s < one.end_s
    assert two.onset_s - one.end_s >= known.PAUSE_S
    assert file.seconds - two.end_s >= known.PAUSE_S
    pcm = speech.pcm_of(file.path)
    between = memoryview(pcm).cast("h")[int(one.end_s * speech.RATE_HZ) : int(two.onset_s * speech.RATE_HZ)]
    assert max(map(abs, between)) <= known.AUDIBLE
