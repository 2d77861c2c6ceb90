"""The schedule of ticks, without a clock."""

import asyncio
from itertools import pairwise

import pytest

from streaming.mailbox import Closed, Mailbox
from streaming.pacing import PATIENCE_TICKS, PHASES, SPREAD, Pacer, TickFigures, on_grid, percentiles


def test_eight_hours_of_uneven_ticks_do_not_drift() -> None:
    pacer = Pacer(1000.0)
    for number in range(8 * 3600 * 25):
        assert pacer.slot == number
        pacer.advance(pacer.due + 0.004 * (number % 7))
    assert pacer.due == 1000.0 + 8 * 3600
    assert pacer.skipped == 0


def test_a_short_stall_is_caught_up() -> None:
    pacer = Pacer(0.0)
    assert pacer.advance(0.15) == pytest.approx(0.15)
    # The next three slots are due already, and none is left out.
    assert [pacer.slot, pacer.due] == [1, 0.04]
    assert pacer.advance(0.155) == pytest.approx(0.115)
    assert pacer.skipped == 0


def test_a_long_stall_is_skipped_and_the_media_clock_stays_the_wall_clock() -> None:
    pacer = Pacer(0.0)
    pacer.advance(10.0)
    assert pacer.due == pytest.approx(10.0, abs=0.05)
    assert pacer.slot == round(pacer.due * 25)
    assert pacer.skipped >= 10 * 25 - PATIENCE_TICKS
    assert pacer.advance(pacer.due + 0.003) == pytest.approx(0.003)


def test_a_tick_that_is_early_is_not_late() -> None:
    assert Pacer(5.0).advance(4.999) == 0


def test_figures_count_what_is_late() -> None:
    figures = TickFigures()
    assert (figures.late_ratio, figures.fps(), figures.percentiles_ms()["p50"]) == (0, 0, 0)
    for number in range(100):
        figures.add(number * 0.04, 0.05 if number % 10 == 0 else 0.002)
    assert (figures.ticks, figures.late) == (100, 10)
    assert figures.late_ratio == pytest.approx(0.1)
    assert figures.fps() == pytest.approx(25)
    assert figures.percentiles_ms() == {"p50": 2.0, "p95": 50.0, "p99": 50.0}


def test_percentiles_of_nothing_are_zero() -> None:
    assert percentiles([]) == {"p50": 0, "p95": 0, "p99": 0}


async def test_a_full_mailbox_drops_the_oldest() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    for item in (1, 2, 3):
        mailbox.put(item)
    assert (len(mailbox), mailbox.dropped) == (2, 1)
    assert [await mailbox.get(), await mailbox.get()] == [2, 3]


async def test_a_mailbox_wakes_who_waits() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(1)
    # Emptied before the consumer could run: it must go on waiting, not fail.
    assert mailbox.clear() == 1
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.put(2)
    assert await waiting == 2
    assert mailbox.generation == 1


async def test_a_closed_mailbox_ends_its_consumer_and_takes_nothing() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.close()
    with pytest.raises(Closed):
        await waiting
    mailbox.put(1)
    assert len(mailbox) == 0


def test_all_sessions_tick_at_the_same_moments() -> None:
    starts = [on_grid(1000.0 + 0.007 * number) for number in range(30)]
    moments = {round(25 * Pacer(start).due, 6) for start in starts}
    assert all(moment == int(moment) for moment in moments)
    assert all(0 <= start - 1000.0 - 0.007 * number < 0.0401 for number, start in enumerate(starts))
    assert on_grid(8.0) == 8.0


def test_phases_lie_evenly_between() -> None:
    assert PHASES == 8
    assert on_grid(8.0, 4) == pytest.approx(8.02)
    assert on_grid(8.02, 4) == pytest.approx(8.02)
    assert on_grid(8.021, 4) == pytest.approx(8.06)
    assert [round(1000 * (on_grid(8.0, phase) - 8)) for phase in range(8)] == [0, 5, 10, 15, 20, 25, 30, 35]


def test_few_sessions_lie_far_apart() -> None:
    assert sorted(SPREAD) == list(range(PHASES))
    for count, apart in ((2, 4), (3, 2), (4, 2), (8, 1)):
        taken = sorted(SPREAD[:count])
        gaps = [b - a for a, b in pairwise([*taken, taken[0] + PHASES])]
        assert min(gaps) == apart


def test_pictures_and_repeated_mouths_are_counted() -> None:
    figures = TickFigures()
    assert figures.picture_percentiles_ms() == {"p50": 0, "p95": 0, "p99": 0}
    for number in range(10):
        figures.add(number / 25, 0.001, mouth_repeated=number % 2 == 0)
        figures.add_picture(0.02)
    assert (figures.ticks, figures.mouths_repeated) == (10, 5)
    assert figures.picture_percentiles_ms() == {"p50": 20, "p95": 20, "p99": 20}
