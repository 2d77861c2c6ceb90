"""When key frames are due."""

from streaming.encoding.keyframes import LEAST_SLOTS, STEADY_SLOTS, KeyframeSchedule


def run(
    schedule: KeyframeSchedule, slots: range, *, steady: bool = False, asks: set[int] | None = None
) -> list[int]:
    """The slots of key frames, with requests just before the slots in `asks`."""
    made = []
    for slot in slots:
        if slot in (asks or ()):
            schedule.request()
        if schedule.due(slot, steady=steady):
            schedule.made(slot)
            made.append(slot)
    return made


def test_a_stream_begins_with_one_and_makes_none_unasked() -> None:
    assert run(KeyframeSchedule(), range(7, 10_000)) == [7]


def test_a_request_is_served_at_once_when_the_last_is_long_ago() -> None:
    assert run(KeyframeSchedule(), range(200), asks={100}) == [0, 100]


def test_requests_within_half_a_second_share_one() -> None:
    assert run(KeyframeSchedule(), range(200), asks={100, 101, 105, 112}) == [0, 100, 113]


def test_a_storm_of_requests_costs_two_a_second_at_most() -> None:
    made = run(KeyframeSchedule(), range(2500), asks=set(range(2500)))
    assert len(made) == -(-2500 // LEAST_SLOTS)
    assert LEAST_SLOTS / 25 >= 0.5


def test_steady_receivers_get_one_every_two_seconds() -> None:
    assert run(KeyframeSchedule(), range(200), steady=True) == [0, 50, 100, 150]
    assert STEADY_SLOTS == 50


def test_a_request_moves_the_steady_beat() -> None:
    assert run(KeyframeSchedule(), range(200), steady=True, asks={70}) == [0, 50, 70, 120, 170]


def test_skipped_slots_do_not_lose_a_request() -> None:
    schedule = KeyframeSchedule()
    assert schedule.due(0, steady=False)
    schedule.made(0)
    schedule.request()
    assert not schedule.due(5, steady=False)
    assert schedule.due(400, steady=False)


def test_one_that_the_encoder_did_not_make_stays_due() -> None:
    schedule = KeyframeSchedule()
    assert [schedule.due(slot, steady=False) for slot in range(3)] == [True, True, True]
