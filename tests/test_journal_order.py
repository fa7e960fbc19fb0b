"""journal's order, live messages and cleaning: pure, so that chance can try what it likes."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from rig.sample_messages import final, gap, id_of, interim, started
from voicetap.messages import Status, Word
from voicetap_journal.clean import MAX_LABEL, MAX_TEXT, clean
from voicetap_journal.live import MAX_REMEMBERED, Live
from voicetap_journal.order import MAX_WAITING, Order

WAIT_S = 30.0


def numbers_of(entries) -> list[int]:
    return [entry.utterance_id.number for entry in entries]


@st.composite
def arrivals(draw) -> list[tuple[str, int]]:
    """Every number of three streams, in any order, some more than once."""
    all_of_them = [(source, number) for source in ("a", "b", "c") for number in range(1, draw(st.integers(1, 12)))]
    repeats = draw(st.lists(st.sampled_from(all_of_them or [("a", 1)]), max_size=20))
    return draw(st.permutations(all_of_them + repeats))


@given(arrivals(), st.data())
def test_every_entry_is_released_once_and_in_order_whatever_order_they_come_in(arriving, data):
    order, released = Order(next_seq=1, wait_s=WAIT_S), []
    for source, number in arriving:
        order.take(final(number, source=source), now_s=0.0)
        if data.draw(st.booleans()):
            released += order.release(now_s=0.0)
    released += order.release(now_s=0.0)

    numbers = defaultdict(list)
    for entry in released:
        numbers[entry.source].append(entry.utterance_id.number)
    for source in {source for source, _ in arriving}:
        assert numbers[source] == sorted({number for name, number in arriving if name == source})
    assert [entry.journal_seq for entry in released] == list(range(1, len(released) + 1))


@given(st.permutations(range(1, 15)), st.sets(st.integers(1, 14), max_size=5))
def test_after_the_wait_everything_that_came_is_released_once_and_late_ones_are_not_lost(arriving, missing):
    order = Order(next_seq=1, wait_s=WAIT_S)
    for number in arriving:
        if number not in missing:
            order.take(final(number), now_s=0.0)
    on_time = numbers_of(order.release(now_s=0.0))
    assert on_time == sorted(on_time)
    on_time += numbers_of(order.release(now_s=WAIT_S))
    assert on_time == sorted(set(arriving) - missing)

    for number in missing:
        assert not order.knows(id_of(number)) and order.take(final(number), now_s=WAIT_S)
    late = numbers_of(order.release(now_s=2 * WAIT_S))
    assert sorted(on_time + late) == list(range(1, 15))
    assert order.streams["mic", "ab12"].complete_to() == 14


def test_an_early_entry_waits_for_those_before_it_and_not_for_ever():
    order = Order(next_seq=7, wait_s=WAIT_S)
    order.take(final(2), now_s=0.0)
    assert order.release(now_s=WAIT_S - 0.1) == []
    assert numbers_of(order.release(now_s=WAIT_S)) == [2]
    assert order.streams["mic", "ab12"].complete_to() == 0, "1 may still be on its way: its sender must keep it"
    order.take(gap(1), now_s=WAIT_S)
    [late] = order.release(now_s=WAIT_S)
    assert (late.utterance_id.number, late.journal_seq) == (1, 8)
    assert order.streams["mic", "ab12"].complete_to() == 2


def test_at_the_end_of_all_nobody_waits_any_more():
    order = Order(next_seq=1, wait_s=WAIT_S)
    for number in (2, 5, 4):
        order.take(final(number), 0.0)
    assert order.release(1.0) == []
    order.stop_waiting()
    assert numbers_of(order.release(1.0)) == [2, 4, 5]


def test_the_highest_number_counts_although_those_before_it_are_missing():
    """A vad that has lost its cut list must not give it again: journal would take it for a repeat."""
    order = Order(next_seq=1, wait_s=WAIT_S)
    for number in (1, 4):
        order.take(final(number), now_s=0.0)
    order.release(now_s=0.0)
    stream = order.streams["mic", "ab12"]
    assert (stream.complete_to(), stream.highest()) == (1, 4)


def test_nobody_waits_when_too_many_wait():
    order = Order(next_seq=1, wait_s=WAIT_S)
    for number in range(2, MAX_WAITING + 3):
        order.take(final(number), now_s=0.0)
    assert len(order.release(now_s=0.0)) == MAX_WAITING + 1


def test_a_forged_number_far_ahead_costs_nothing():
    order = Order(next_seq=1, wait_s=0.0)
    order.take(final(10**15 - 1), now_s=0.0)
    order.release(now_s=0.0)
    order.take(final(5), now_s=0.0)
    assert numbers_of(order.release(now_s=0.0)) == [5]
    assert not order.take(final(5), now_s=0.0)


def test_a_restored_order_goes_on_where_it_was():
    first = Order(next_seq=1, wait_s=0.0)
    for number in (1, 2, 5):
        first.take(final(number), now_s=0.0)
    assert len(first.release(now_s=0.0)) == 3
    second = Order(next_seq=first.next_seq, wait_s=WAIT_S)
    stream = first.streams["mic", "ab12"]
    second.restore("mic", "ab12", stream.next_number, stream.missing)
    assert [second.knows(id_of(number)) for number in range(1, 7)] == [True, True, False, False, True, False]


def test_live_messages_are_passed_on_only_while_they_are_news():
    finals = {id_of(1)}
    live = Live(finals.__contains__)
    assert not live.is_news(interim(1, revision=9)), "its text is out"
    assert not live.is_news(started(1))
    assert not live.is_news(interim(2, revision=1)), "nor did it begin while we listened"
    assert [live.is_news(started(2)) for _ in range(2)] == [True, False]
    assert [live.is_news(interim(2, revision)) for revision in (1, 3, 2, 3, 4)] == [True, True, False, False, True]
    status = Status(source="mic", state="lost", detail="", wall_ns=1)
    assert live.is_news(status) and live.is_news(status)


def test_what_was_published_as_committed_is_never_taken_back():
    """A vad that was restarted has to agree with the one before it first."""
    live = Live(lambda utterance_id: False)
    live.is_news(started(1))
    words = ("", "turn on", "", "turn off", "turn on the", "turn")
    said = [replace(interim(1, revision), committed_text=text) for revision, text in enumerate(words, 1)]
    assert [live.is_news(each) for each in said] == [True, True, False, False, True, False]


def test_live_forgets_old_utterances():
    live = Live(lambda utterance_id: False)
    for number in range(10 * MAX_REMEMBERED):
        live.is_news(started(number))
        live.is_news(interim(number))
    assert len(live._newest) <= MAX_REMEMBERED


def test_cleaning_leaves_words_and_removes_what_a_terminal_would_obey():
    assert clean(final(1, "  naïve café — 東京\t👍 ")).text == "  naïve café — 東京 👍 ".replace("  ", " ")
    evil = "\x1b]0;owned\x07\x1b[2J\r\nrm\u202e -rf\x9b31m\x00"
    assert clean(final(1, evil)).text == "]0;owned[2J rm -rf31m"


@given(st.text(alphabet=st.characters()))
@example("\r\x1b\x85")  # a space on either side of what is removed
def test_what_is_cleaned_can_always_be_printed_and_is_clean(text):
    cleaned = clean(final(1, text or "x", reason=text)).text
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)
    assert clean(final(1, cleaned or "x")).text == (cleaned or "x")
    cleaned.encode()


def test_cleaning_bounds_every_text():
    words = (Word(word="w" * 10_000, start_s=0, end_s=1, probability=1),)
    message = clean(final(1, "x" * 10**6, words=words, reason="r" * 10_000))
    assert (len(message.text), len(message.reason), len(message.words[0].word)) == (MAX_TEXT, MAX_LABEL, MAX_LABEL)
