"""Frames in order, in whatever order they arrive, and requests for the missing ones."""

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rig.vad import make_frame
from voicetap_vad.reorder_buffer import MAX_AHEAD, MAX_REQUESTED, REREQUEST_S, ReorderBuffer

EFFORT = effort(max_examples=40)


def popped(buffer: ReorderBuffer) -> list[int]:
    return [frame.seq for frame in buffer.pop(10_000)]


@EFFORT
@given(st.lists(st.integers(0, 60), max_size=150), st.data())
def test_any_delivery_gives_each_frame_once_and_in_order(delivered, data):
    buffer, out, now_s = ReorderBuffer(0), [], 0.0
    for seq in delivered:
        buffer.add(make_frame(seq))
        out += [frame.seq for frame in buffer.pop(data.draw(st.integers(0, 3)))]
    buffer.on_head(0, 61)
    while requested := buffer.next_request(now_s := now_s + 1):
        for seq in range(*requested):
            buffer.add(make_frame(seq))
    assert out + popped(buffer) == list(range(61))
    assert buffer.is_complete


def test_a_hole_is_requested_at_once_and_again_until_it_is_filled():
    buffer = ReorderBuffer(0)
    buffer.add(make_frame(5))
    assert buffer.next_request(0.0) == (0, 5)
    assert buffer.next_request(REREQUEST_S / 2) is None
    buffer.add(make_frame(0))
    assert buffer.next_request(REREQUEST_S) == (1, 5)
    for seq in range(1, 5):
        buffer.add(make_frame(seq))
    assert buffer.next_request(REREQUEST_S * 3) is None
    assert popped(buffer) == [0, 1, 2, 3, 4, 5]


def test_a_lost_tail_is_found_by_the_head():
    buffer = ReorderBuffer(3)
    buffer.on_head(0, 3)
    assert buffer.next_request(0.0) is None and buffer.is_complete
    buffer.on_head(0, 7)
    assert buffer.next_request(0.0) == (3, 7) and not buffer.is_complete


def test_a_long_stretch_is_fetched_in_pieces_without_waiting_between_them():
    buffer = ReorderBuffer(0)
    buffer.on_head(0, 1000)
    assert buffer.next_request(0.0) == (0, MAX_REQUESTED)
    for seq in range(MAX_REQUESTED):
        buffer.add(make_frame(seq))
    assert buffer.next_request(0.0) is None  # what has arrived is processed first
    popped(buffer)
    assert buffer.next_request(0.0) == (MAX_REQUESTED, 2 * MAX_REQUESTED)


def test_frames_the_ring_has_lost_are_skipped():
    buffer = ReorderBuffer(0)
    buffer.add(make_frame(12))
    buffer.on_head(10, 13)
    assert buffer.next_request(0.0) == (10, 12)
    buffer.on_head(12, 13)
    assert popped(buffer) == [12]


def test_the_buffer_is_bounded_and_still_accepts_the_missing_frame():
    buffer = ReorderBuffer(0)
    for seq in range(1, MAX_AHEAD + 11):
        buffer.add(make_frame(seq))
    assert buffer.drops == 10
    buffer.add(make_frame(0))
    assert popped(buffer) == list(range(MAX_AHEAD + 1))
    assert buffer.next_request(0.0) == (MAX_AHEAD + 1, MAX_AHEAD + 11)
