"""Packets of a microphone that overtake each other: put in order, with no wait where none is overtaken."""

import random
from typing import cast

import pytest
from aiortc import RTCRtpReceiver
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.webrtc.receive import WAIT_PACKETS, Reordering, put_in_order

PACKET_S = 0.02


def taken(numbers: list[int]) -> list[list[int]]:
    """What each packet brings forth."""
    order: Reordering[int] = Reordering()
    return [order.take(number & 0xFFFF, number) for number in numbers]


def test_packets_in_order_come_out_at_once_across_the_wrap() -> None:
    numbers = list(range(65_500, 65_600))
    assert taken(numbers) == [[number] for number in numbers]


def test_a_lost_packet_delays_nothing_where_none_was_overtaken() -> None:
    assert taken([1, 2, 4, 5, 8, 9]) == [[1], [2], [4], [5], [8], [9]]


def test_after_one_came_late_the_next_is_waited_for() -> None:
    # 3 is given up when 4 comes; after that, 5 is worth a wait.
    assert taken([1, 2, 4, 3, 6, 5, 7]) == [[1], [2], [4], [], [], [5, 6], [7]]


def test_the_wait_is_as_long_as_packets_were_late_and_bounded() -> None:
    order: Reordering[int] = Reordering()
    for number in (1, 2, 9, 3):  # 3 comes seven packets late
        order.take(number, number)
    assert [order.take(number, number) for number in (11, 12, 13)] == [[], [], [11, 12, 13]]
    assert WAIT_PACKETS == 3


def test_a_calm_network_is_not_waited_for_any_more() -> None:
    order: Reordering[int] = Reordering()
    for number in (1, 3, 2, *range(4, 600)):
        order.take(number, number)
    assert order.take(601, 601) == [601]


def test_repeated_packets_are_dropped() -> None:
    assert taken([1, 1, 2, 2, 3]) == [[1], [], [2], [], [3]]


def test_a_sender_that_starts_anew_is_heard_after_what_waits() -> None:
    assert taken([1, 3, 2, 5, 30_000, 30_001]) == [[1], [3], [], [], [5, 30_000], [30_001]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), loss=st.floats(0, 0.5), jitter_s=st.floats(0, 0.5), twice=st.floats(0, 0.3)
)
def test_whatever_the_network_does_sound_is_in_order_and_never_held_long(
    seed: int, loss: float, jitter_s: float, twice: float
) -> None:
    dice = random.Random(seed)
    arrivals = sorted(
        (number * PACKET_S + dice.random() * jitter_s, number)
        for number in range(65_000, 65_800)
        for _ in range(2 if dice.random() < twice else 1)
        if dice.random() >= loss
    )
    order: Reordering[int] = Reordering()
    heard: list[int] = []
    newest = 0
    for _, number in arrivals:
        newest = max(newest, number)
        heard += order.take(number & 0xFFFF, number)
        assert all(newest - one < WAIT_PACKETS for one in order._held.values())
    assert heard == sorted(set(heard))


@pytest.mark.parametrize(
    ("jitter_s", "loss", "before", "after"), [(0.2, 0.2, 0.40, 0.50), (0.03, 0.01, 0.95, 0.98)]
)
def test_more_of_the_sound_arrives(jitter_s: float, loss: float, before: float, after: float) -> None:
    """Shares of what is sent: without any wait at most `before`, with it at least `after`."""
    dice = random.Random(1)
    arrivals = sorted(
        (number * PACKET_S + dice.random() * jitter_s, number)
        for number in range(5000)
        if dice.random() >= loss
    )
    newest, at_once = -1, 0
    for _, number in arrivals:
        at_once, newest = at_once + (number > newest), max(newest, number)
    order: Reordering[int] = Reordering()
    heard = sum(len(order.take(number, number)) for _, number in arrivals)
    print(f"jitter {1000 * jitter_s:.0f} ms: of all sound {at_once / 5000:.3f}, {heard / 5000:.3f} in order")
    assert at_once / 5000 < before
    assert heard / 5000 > after


def test_the_installed_aiortc_has_the_method_that_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    assert hasattr(RTCRtpReceiver, "_handle_rtp_packet")
    assert not put_in_order(cast(RTCRtpReceiver, object()))
    assert "takes packets elsewhere" in caplog.text
