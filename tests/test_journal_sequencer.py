"""journal's sequencer: pure, so entries are added in every order that hypothesis finds."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from rig.sample_messages import final, gap, id_of
from voicetap_journal.sequencer import MAX_WAITING, Sequencer

TIMEOUT_S = 30.0


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
    sequencer, released = Sequencer(next_seq=1, timeout_s=TIMEOUT_S), []
    for source, number in arriving:
        sequencer.add(final(number, source=source), now_s=0.0)
        if data.draw(st.booleans()):
            released += sequencer.release(now_s=0.0)
    released += sequencer.release(now_s=0.0)

    numbers = defaultdict(list)
    for entry in released:
        numbers[entry.source].append(entry.utterance_id.number)
    for source in {source for source, _ in arriving}:
        assert numbers[source] == sorted({number for name, number in arriving if name == source})
    assert [entry.journal_seq for entry in released] == list(range(1, len(released) + 1))


@given(st.permutations(range(1, 15)), st.sets(st.integers(1, 14), max_size=5))
def test_after_the_timeout_all_entries_are_released_once_and_late_ones_are_not_lost(arriving, missing):
    sequencer = Sequencer(next_seq=1, timeout_s=TIMEOUT_S)
    for number in arriving:
        if number not in missing:
            sequencer.add(final(number), now_s=0.0)
    on_time = numbers_of(sequencer.release(now_s=0.0))
    assert on_time == sorted(on_time)
    on_time += numbers_of(sequencer.release(now_s=TIMEOUT_S))
    assert on_time == sorted(set(arriving) - missing)

    for number in missing:
        assert not sequencer.contains(id_of(number)) and sequencer.add(final(number), now_s=TIMEOUT_S)
    late = numbers_of(sequencer.release(now_s=2 * TIMEOUT_S))
    assert sorted(on_time + late) == list(range(1, 15))
    assert sequencer.streams["mic", "ab12"].complete_to() == 14


def test_an_entry_waits_for_those_before_it_until_the_timeout():
    sequencer = Sequencer(next_seq=7, timeout_s=TIMEOUT_S)
    sequencer.add(final(2), now_s=0.0)
    assert sequencer.release(now_s=TIMEOUT_S - 0.1) == []
    assert numbers_of(sequencer.release(now_s=TIMEOUT_S)) == [2]
    assert sequencer.streams["mic", "ab12"].complete_to() == 0, "1 may still arrive: its sender must keep it"
    sequencer.add(gap(1), now_s=TIMEOUT_S)
    [late] = sequencer.release(now_s=TIMEOUT_S)
    assert (late.utterance_id.number, late.journal_seq) == (1, 8)
    assert sequencer.streams["mic", "ab12"].complete_to() == 2


def test_after_expire_missing_no_entry_waits():
    sequencer = Sequencer(next_seq=1, timeout_s=TIMEOUT_S)
    for number in (2, 5, 4):
        sequencer.add(final(number), 0.0)
    assert sequencer.release(1.0) == []
    sequencer.expire_missing()
    assert numbers_of(sequencer.release(1.0)) == [2, 4, 5]


def test_the_highest_number_counts_although_those_before_it_are_missing():
    """A vad that has lost its segment store must not reuse it: journal would take the entry for a repeated one."""
    sequencer = Sequencer(next_seq=1, timeout_s=TIMEOUT_S)
    for number in (1, 4):
        sequencer.add(final(number), now_s=0.0)
    sequencer.release(now_s=0.0)
    stream = sequencer.streams["mic", "ab12"]
    assert (stream.complete_to(), stream.highest()) == (1, 4)


def test_no_entry_waits_when_too_many_do():
    sequencer = Sequencer(next_seq=1, timeout_s=TIMEOUT_S)
    for number in range(2, MAX_WAITING + 3):
        sequencer.add(final(number), now_s=0.0)
    assert len(sequencer.release(now_s=0.0)) == MAX_WAITING + 1


def test_a_forged_number_far_ahead_costs_nothing():
    sequencer = Sequencer(next_seq=1, timeout_s=0.0)
    sequencer.add(final(10**15 - 1), now_s=0.0)
    sequencer.release(now_s=0.0)
    sequencer.add(final(5), now_s=0.0)
    assert numbers_of(sequencer.release(now_s=0.0)) == [5]
    assert not sequencer.add(final(5), now_s=0.0)


def test_a_restored_sequencer_continues_where_it_was():
    first = Sequencer(next_seq=1, timeout_s=0.0)
    for number in (1, 2, 5):
        first.add(final(number), now_s=0.0)
    assert len(first.release(now_s=0.0)) == 3
    second = Sequencer(next_seq=first.next_seq, timeout_s=TIMEOUT_S)
    stream = first.streams["mic", "ab12"]
    second.restore("mic", "ab12", stream.next_number, stream.missing)
    assert [second.contains(id_of(number)) for number in range(1, 7)] == [True, True, False, False, True, False]
