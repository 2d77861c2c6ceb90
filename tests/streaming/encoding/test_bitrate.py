"""The bit rate in simulated time."""

import math
from itertools import pairwise

import pytest

from streaming.encoding.bitrate import LOWER_S, RAISE_S, REPORT_S, BitratePolicy

CONFIGURED = 2400


class Room:
    """A policy, its receivers and a clock; what is sent is what the policy says, unless told otherwise."""

    def __init__(self, receivers: int) -> None:
        self.policy = BitratePolicy(CONFIGURED)
        self.receivers = receivers
        self.now = 100.0

    def pass_time(
        self,
        seconds: float,
        takes: dict[int, int] | None = None,
        *,
        sent: float | None = None,
        steady: bool = False,
    ) -> list[int]:
        """The bit rates of that time; each second every receiver in `takes` reports what it can take."""
        rates = []
        for step in range(round(seconds * 25)):
            if step % 25 == 0:
                for receiver, kbps in (takes or {}).items():
                    self.policy.report(receiver, kbps, self.now)
            self.now += 0.04
            rates.append(
                self.policy.update(
                    self.now,
                    receivers=self.receivers,
                    sent_kbps=self.policy.kbps if sent is None else sent,
                    steady=steady,
                )
            )
        return rates


def test_it_is_the_configured_one_when_nobody_complains() -> None:
    assert set(Room(3).pass_time(60)) == {CONFIGURED}
    assert set(Room(3).pass_time(60, {0: 9000, 1: 2400, 2: 5000})) == {CONFIGURED}


def test_one_of_three_does_not_lower_it_two_do() -> None:
    room = Room(3)
    assert set(room.pass_time(20, {0: 1000})) == {CONFIGURED}
    rates = room.pass_time(5, {0: 1000, 1: 1600})
    assert rates[0] == round(0.85 * 1300)


def test_just_half_is_not_more_than_half() -> None:
    assert set(Room(4).pass_time(20, {0: 900, 1: 900})) == {CONFIGURED}


def test_the_one_receiver_there_is_decides() -> None:
    assert Room(1).pass_time(1, {0: 2000})[-1] == 1700


def test_it_never_falls_below_a_third() -> None:
    assert min(Room(1).pass_time(60, {0: 50})) == CONFIGURED // 3


def test_steps_down_wait_for_their_effect() -> None:
    room = Room(1)
    first = room.pass_time(1, {0: 2000})[-1]
    rates = room.pass_time(LOWER_S + 1, {0: 1000})
    assert rates[0] == first
    changes = [index for index in range(1, len(rates)) if rates[index] != rates[index - 1]]
    assert len(changes) == 1
    assert changes[0] / 25 >= LOWER_S - 1 - 0.1


def test_it_comes_back_slowly_and_whole() -> None:
    room = Room(1)
    room.pass_time(3, {0: 500})
    assert room.policy.kbps == CONFIGURED // 3
    rates = room.pass_time(120, {0: 20_000})
    assert rates == sorted(rates)
    assert rates[-1] == CONFIGURED
    steps = sorted(set(rates))
    assert all(math.isclose(b / a, 1.15, rel_tol=0.01) for a, b in pairwise(steps[:-1]))
    assert rates.index(CONFIGURED) / 25 >= 7 * RAISE_S


def test_an_estimate_above_what_is_sent_is_no_complaint() -> None:
    # A still presenter needs few bits, and estimates never grow far beyond what arrives.
    assert set(Room(1).pass_time(60, {0: 600}, sent=400)) == {CONFIGURED}


def test_an_estimate_that_still_rises_is_no_complaint() -> None:
    # The presenter was still, and begins to speak: browsers raise their estimate by 8 % a second at most.
    room = Room(1)
    room.pass_time(10, {0: 600}, sent=400)
    estimate = 600.0
    while estimate < CONFIGURED:
        estimate *= 1.08
        assert set(room.pass_time(1, {0: round(estimate)}, sent=CONFIGURED)) == {CONFIGURED}
    assert set(room.pass_time(10, {0: round(estimate)}, sent=CONFIGURED)) == {CONFIGURED}


def test_an_estimate_that_falls_is_a_complaint_wherever_it_began() -> None:
    room = Room(1)
    room.pass_time(5, {0: 2600})
    assert room.pass_time(1, {0: 1500})[0] == round(0.85 * 1500)


def test_small_differences_change_nothing() -> None:
    room = Room(1)
    room.pass_time(1, {0: 1200})
    lowered = room.policy.kbps
    assert lowered == 1020
    assert set(room.pass_time(RAISE_S - 2, {0: 950})) == {lowered}


def test_old_reports_are_forgotten() -> None:
    room = Room(1)
    room.pass_time(1, {0: 1000})
    assert room.policy.kbps == 850
    # It said nothing more: after a while it counts as content.
    room.pass_time(REPORT_S + 10 * RAISE_S)
    assert room.policy.kbps == CONFIGURED


def test_one_that_leaves_takes_its_complaint_along() -> None:
    room = Room(2)
    room.pass_time(3, {0: 800, 1: 800})
    room.policy.forget(0)
    room.policy.forget(1)
    room.policy.forget("never seen")
    rates = room.pass_time(60)
    assert rates[-1] == CONFIGURED


@pytest.mark.parametrize("takes", [{0: 100, 1: 100}, {0: 100}])
def test_it_is_never_lowered_while_something_steady_is_there(takes: dict[int, int]) -> None:
    room = Room(2)
    assert set(room.pass_time(30, takes, steady=True)) == {CONFIGURED}
    room.pass_time(5, {0: 100, 1: 100})
    assert room.policy.kbps < CONFIGURED
    assert room.pass_time(1, takes, steady=True)[0] == CONFIGURED


def test_a_narrow_link_settles_near_what_it_takes() -> None:
    room = Room(1)
    rates = room.pass_time(600, {0: 1500})
    settled = rates[2000:]
    assert min(settled) >= 1100
    assert max(settled) <= 1.15 * 1500
