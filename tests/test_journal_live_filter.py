"""journal's filter of live messages: which are published, and which are repeated, old or contradicting."""

from dataclasses import replace

from rig.sample_messages import id_of, interim, started
from voicetap.messages import Status
from voicetap_journal.live_filter import MAX_TRACKED, LiveFilter


def test_live_messages_are_accepted_only_while_they_are_new():
    finals = {id_of(1)}
    live_filter = LiveFilter(finals.__contains__)
    assert not live_filter.accepts(interim(1, revision=9)), "it has its entry"
    assert not live_filter.accepts(started(1))
    assert not live_filter.accepts(interim(2, revision=1)), "its SpeechStarted is not known"
    assert [live_filter.accepts(started(2)) for _ in range(2)] == [True, False]
    accepted = [live_filter.accepts(interim(2, revision)) for revision in (1, 3, 2, 3, 4)]
    assert accepted == [True, True, False, False, True]
    status = Status(source="mic", state="lost", detail="", wall_ns=1)
    assert live_filter.accepts(status) and live_filter.accepts(status)


def test_committed_text_is_never_taken_back():
    """A restarted vad first has to reach the text that the previous one committed."""
    live_filter = LiveFilter(lambda utterance_id: False)
    live_filter.accepts(started(1))
    words = ("", "turn on", "", "turn off", "turn on the", "turn")
    interims = [replace(interim(1, revision), committed_text=text) for revision, text in enumerate(words, 1)]
    assert [live_filter.accepts(each) for each in interims] == [True, True, False, False, True, False]


def test_old_utterances_are_dropped():
    live_filter = LiveFilter(lambda utterance_id: False)
    for number in range(10 * MAX_TRACKED):
        live_filter.accepts(started(number))
        live_filter.accepts(interim(number))
    assert len(live_filter._newest) <= MAX_TRACKED
