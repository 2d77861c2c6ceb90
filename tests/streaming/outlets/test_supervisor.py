"""When an outlet tries again, in simulated time."""

from collections.abc import Iterator
from itertools import count

import pytest

from streaming.outlets.supervisor import State, Supervisor


def middle() -> float:
    return 0.5


def test_it_goes_from_connecting_to_live_to_ended() -> None:
    one = Supervisor(10.0, middle)
    assert (one.state, one.since) == (State.CONNECTING, 10.0)
    one.live(12.0)
    assert (one.state, one.since) == (State.LIVE, 12.0)
    one.ended(20.0)
    assert (one.state, one.since) == (State.ENDED, 20.0)
    assert one.reconnects == 0
    assert one.error is None


def test_a_fault_is_followed_by_a_wait_and_a_new_attempt() -> None:
    one = Supervisor(0.0, middle)
    assert one.failed(5.0, "It broke.", final=False) == 1.0
    assert one.state == "waiting"
    assert one.retry_at == 6.0
    assert one.retry_in(5.4) == pytest.approx(0.6)
    assert one.retry_in(9.0) == 0.0
    one.connecting(6.0)
    assert one.state == "connecting"
    assert one.retry_in(6.0) is None
    assert one.error == "It broke."


def test_each_wait_is_twice_as_long_up_to_thirty_seconds() -> None:
    one = Supervisor(0.0, middle)
    delays = []
    now = 0.0
    for _ in range(9):
        delay = one.failed(now, "No.", final=False)
        assert delay is not None
        delays.append(delay)
        now += delay
        one.connecting(now)
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_waits_differ_by_chance_but_stay_between_one_and_thirty_seconds() -> None:
    def spread() -> Iterator[float]:
        return (number * 0.37 % 1 for number in count())

    numbers = spread()
    one = Supervisor(0.0, lambda: next(numbers))
    delays = [one.failed(float(at), "No.", final=False) or 0.0 for at in range(200)]
    assert all(1 <= delay <= 30 for delay in delays)
    assert len({round(delay, 3) for delay in delays[6:]}) > 20
    assert min(delays[6:]) < 25


def test_coming_back_is_counted_and_going_on_air_first_is_not() -> None:
    one = Supervisor(0.0, middle)
    one.failed(1.0, "No.", final=False)
    one.connecting(2.0)
    one.live(3.0)
    assert one.reconnects == 0
    one.failed(4.0, "Gone.", final=False)
    one.connecting(6.0)
    one.failed(7.0, "Still gone.", final=False)
    one.connecting(9.0)
    one.live(10.0)
    assert one.reconnects == 1
    assert one.error == "Still gone."


def test_a_connection_that_held_is_met_anew_and_one_that_flaps_is_not() -> None:
    one = Supervisor(0.0, middle)
    for _ in range(4):
        one.failed(0.0, "No.", final=False)
        one.connecting(0.0)
    one.live(100.0)
    assert one.failed(110.0, "Gone.", final=False) == 16.0
    one.connecting(130.0)
    one.live(131.0)
    assert one.failed(162.0, "Gone.", final=False) == 1.0


def test_a_final_fault_ends_it() -> None:
    one = Supervisor(0.0, middle)
    assert one.failed(1.0, "Full.", final=True) is None
    assert one.state is State.ENDED
    one.ended(9.0)
    assert (one.since, one.error) == (1.0, "Full.")


def test_what_a_dying_connection_says_late_does_not_count() -> None:
    one = Supervisor(0.0, middle)
    one.failed(1.0, "No.", final=False)
    one.live(1.1)
    assert one.state is State.WAITING
    assert one.reconnects == 0


def test_a_thousand_faults_do_not_overflow() -> None:
    one = Supervisor(0.0, middle)
    for at in range(3000):
        one.failed(float(at), "No.", final=False)
    assert one.failed(3000.0, "No.", final=False) == 30.0
