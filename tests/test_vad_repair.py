"""Frames in order, whatever order they come in, and what is asked for when they do not."""

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rig.vad import make_frame
from voicetap_vad.repair import ASK_AGAIN_S, MAX_AHEAD, MAX_ASKED, Order

EFFORT = effort(max_examples=40)


def taken(order: Order) -> list[int]:
    return [frame.seq for frame in order.take(10_000)]


@EFFORT
@given(st.lists(st.integers(0, 60), max_size=150), st.data())
def test_any_delivery_gives_each_frame_once_and_in_order(delivered, data):
    order, out, now_s = Order(0), [], 0.0
    for seq in delivered:
        order.offer(make_frame(seq))
        out += [frame.seq for frame in order.take(data.draw(st.integers(0, 3)))]
    order.hear_head(0, 61)
    while asked := order.missing(now_s := now_s + 1):
        for seq in range(*asked):
            order.offer(make_frame(seq))
    assert out + taken(order) == list(range(61))
    assert order.complete


def test_a_hole_is_asked_for_at_once_and_again_until_it_is_filled():
    order = Order(0)
    order.offer(make_frame(5))
    assert order.missing(0.0) == (0, 5)
    assert order.missing(ASK_AGAIN_S / 2) is None
    order.offer(make_frame(0))
    assert order.missing(ASK_AGAIN_S) == (1, 5)
    for seq in range(1, 5):
        order.offer(make_frame(seq))
    assert order.missing(ASK_AGAIN_S * 3) is None
    assert taken(order) == [0, 1, 2, 3, 4, 5]


def test_a_lost_tail_is_known_from_the_head():
    order = Order(3)
    order.hear_head(0, 3)
    assert order.missing(0.0) is None and order.complete
    order.hear_head(0, 7)
    assert order.missing(0.0) == (3, 7) and not order.complete


def test_a_long_stretch_is_fetched_in_pieces_without_waiting_between_them():
    order = Order(0)
    order.hear_head(0, 1000)
    assert order.missing(0.0) == (0, MAX_ASKED)
    for seq in range(MAX_ASKED):
        order.offer(make_frame(seq))
    assert order.missing(0.0) is None  # what came is worked on first
    taken(order)
    assert order.missing(0.0) == (MAX_ASKED, 2 * MAX_ASKED)


def test_frames_the_ring_has_lost_are_passed_over():
    order = Order(0)
    order.offer(make_frame(12))
    order.hear_head(10, 13)
    assert order.missing(0.0) == (10, 12)
    order.hear_head(12, 13)
    assert taken(order) == [12]


def test_what_is_held_is_bounded_and_the_missing_frame_still_gets_in():
    order = Order(0)
    for seq in range(1, MAX_AHEAD + 11):
        order.offer(make_frame(seq))
    assert order.drops == 10
    order.offer(make_frame(0))
    assert taken(order) == list(range(MAX_AHEAD + 1))
    assert order.missing(0.0) == (MAX_AHEAD + 1, MAX_AHEAD + 11)
