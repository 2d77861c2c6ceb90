"""MouthScheduler in simulated time: every order ends once, in order, fairly, never slower than one by one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import ceil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.mouth.request import MouthRequest
from engine.mouth.scheduler import Batch, BatchCost, MouthScheduler, Order
from engine.speech.mel import SILENT_WINDOW
from tests.fakes import FakeMouth

TICK = 0.04
RESERVE = 0.008
PATCH = np.zeros((2, 2, 3), np.uint8)


def ask(mouth: FakeMouth, faces: int = 1) -> tuple[MouthRequest, ...]:
    return tuple(MouthRequest(mouth, SILENT_WINDOW, (number,)) for number in range(faces))


@dataclass
class Seat:
    """A session: what draws it, how many faces its ticks need, and how late after a slot each tick begins."""

    mouth: FakeMouth
    faces: Sequence[int]
    delays: Sequence[float]
    drawn: list[int] = field(default_factory=list)
    """Slots whose mouths came in time."""
    late: list[int] = field(default_factory=list)


class Hall:
    """Sessions, a scheduler and threads in simulated time. A batch takes `call + face * n` seconds."""

    def __init__(
        self, seats: Sequence[Seat], lanes: int, cost: Callable[[int], float], largest: int = 64
    ) -> None:
        self.seats = seats
        self.lanes = lanes
        self.cost = cost
        self.largest = largest
        self.scheduler = MouthScheduler(lanes, largest)
        self.running: list[Batch] = []
        self.batches: list[int] = []
        self.most_waiting = 0
        self.fails: Callable[[Batch], bool] = lambda batch: False
        self.hangs: Callable[[Batch], bool] = lambda batch: False
        self._open: dict[Order, tuple[Seat, int]] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._places = count()

    def at(self, moment: float, what: Callable[[float], None]) -> None:
        heappush(self._events, (moment, next(self._places), what))

    def run(self, ticks: int) -> None:
        for seat in self.seats:
            self._expect(seat, 0)
        for slot in range(ticks):
            for seat in self.seats:
                self._plan(seat, slot)
        while self._events:
            now, _, what = heappop(self._events)
            what(now)
            self._go_on(now)
        assert not self._open, "an order never ended"

    def _expect(self, seat: Seat, slot: int) -> None:
        self.scheduler.expect(id(seat), slot * TICK)

    def _plan(self, seat: Seat, slot: int) -> None:
        due = slot * TICK

        def begin(now: float) -> None:
            faces = seat.faces[slot % len(seat.faces)]
            order = self.scheduler.arrive(id(seat), ask(seat.mouth, faces), due, due + TICK - RESERVE, now)
            if order is None:
                assert not faces
                self._expect(seat, slot + 1)
            else:
                self._open[order] = (seat, slot)

        self.at(due + seat.delays[slot % len(seat.delays)], begin)

    def _go_on(self, now: float) -> None:
        self._end(self.scheduler.late(now))
        while (batch := self.scheduler.next(now)) is not None:
            self._check(batch)
            self.running.append(batch)
            self.batches.append(len(batch))
            if not self.hangs(batch):
                self.at(now + self.cost(len(batch)), lambda then, batch=batch: self._back(batch, then))  # type: ignore[misc]
        self.most_waiting = max(self.most_waiting, self.scheduler.waiting)
        wake = self.scheduler.wake(now)
        if wake is not None:
            assert wake > now
            self.at(wake, lambda _: None)

    def _check(self, batch: Batch) -> None:
        assert len(self.running) < self.lanes
        assert 1 <= len(batch) <= self.largest
        assert {item.request.mouth for item in batch.items} == {batch.runtime}
        assert batch.mels.shape == (len(batch), 80, 16)
        taken = max(item.order.due for item in batch.items)
        left = [item.order.due for item in self.scheduler._waiting if item.request.mouth is batch.runtime]
        assert all(due >= taken for due in left), "what is due first comes first"

    def _back(self, batch: Batch, now: float) -> None:
        self.running.remove(batch)
        if self.fails(batch):
            self._end(self.scheduler.failed(batch))
        else:
            self._end(self.scheduler.drawn(batch, [PATCH] * len(batch), now))

    def _end(self, orders: Sequence[Order]) -> None:
        for order in orders:
            seat, slot = self._open.pop(order)  # a KeyError: it ended twice
            assert len(order.patches) == len(order.requests)
            (seat.late if any(patch is None for patch in order.patches) else seat.drawn).append(slot)
            self._expect(seat, slot + 1)


def linear(call: float, face: float) -> Callable[[int], float]:
    return lambda faces: call + face * faces


def one_by_one(seats: int, ticks: int, lanes: int, cost: float) -> int:
    """How many mouths `lanes` threads draw in time when each is a call of its own, none begun in vain."""
    free, drawn = [0.0] * lanes, 0
    for slot in range(ticks):
        for _ in range(seats):
            lane = min(range(lanes), key=free.__getitem__)
            done = max(free[lane], slot * TICK) + cost
            if done <= (slot + 1) * TICK - RESERVE + 1e-9:
                free[lane] = done
                drawn += 1
    return drawn


seconds = st.floats(0.0, 0.03)
seats = st.builds(
    lambda mouth, faces, delays: (mouth, faces, delays),
    st.integers(0, 2),
    st.lists(st.integers(0, 2), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 0.039), min_size=1, max_size=5),
)


def hall(
    drawn: Sequence[tuple[int, list[int], list[float]]],
    lanes: int,
    cost: Callable[[int], float],
    largest: int = 64,
) -> Hall:
    mouths = [FakeMouth() for _ in range(3)]
    return Hall([Seat(mouths[mouth], faces, delays) for mouth, faces, delays in drawn], lanes, cost, largest)


@settings(max_examples=60, deadline=None)
@given(st.lists(seats, min_size=1, max_size=8), st.integers(1, 3), seconds, seconds, st.integers(1, 8))
def test_every_order_ends_once_whatever_happens(
    drawn: list[tuple[int, list[int], list[float]]], lanes: int, call: float, face: float, largest: int
) -> None:
    """Any number of sessions, mouths, threads and costs; the hall's own checks hold at each batch."""
    tried = hall(drawn, lanes, linear(call, face), largest)
    tried.run(8)
    for seat in tried.seats:
        wanted = [slot for slot in range(8) if seat.faces[slot % len(seat.faces)]]
        assert sorted(seat.drawn + seat.late) == wanted
        assert seat.drawn == sorted(seat.drawn)
    assert tried.most_waiting <= 2 * len(drawn)
    assert tried.scheduler.waiting == 0


@settings(max_examples=60, deadline=None)
@example(sessions=4, lanes=1, call=0.0, face=0.008)
@given(
    sessions=st.integers(1, 12),
    lanes=st.integers(1, 3),
    call=st.floats(0.0, 0.02),
    face=st.floats(0.0005, 0.02),
)
def test_never_fewer_than_one_by_one(sessions: int, lanes: int, call: float, face: float) -> None:
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0]) for _ in range(sessions)], lanes, linear(call, face))
    # What it costs is known by then: learning takes a few batches.
    for faces in (1, 2, 3) * 10:
        tried.scheduler.cost(mouth).observe(faces, call + face * faces)
    tried.run(12)
    # A hair slower: whether what ends at the very deadline is in time is a matter of rounding.
    least = one_by_one(sessions, 12, lanes, 1.001 * (call + face))
    assert sum(len(seat.drawn) for seat in tried.seats) >= least


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 14), st.integers(1, 2), st.floats(0.0, 0.01), st.floats(0.004, 0.025))
def test_an_overload_falls_on_all_alike(sessions: int, lanes: int, call: float, face: float) -> None:
    """Between two mouths of a session nobody else gets many more: they take turns."""
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0]) for _ in range(sessions)], lanes, linear(call, face))
    ticks, settled = 60, 10
    tried.run(ticks)
    served = Counter(slot for seat in tried.seats for slot in seat.drawn if slot >= settled)
    if not served:
        return  # one face takes longer than there is
    turn = (
        ceil(sessions / min(served[slot] for slot in range(settled, ticks)))
        if len(served) == ticks - settled
        else ticks
    )
    for seat in tried.seats:
        slots = [settled - 1, *(slot for slot in seat.drawn if slot >= settled), ticks]
        assert max(np.diff(slots)) <= turn + 1
    counts = [len([slot for slot in seat.drawn if slot >= settled]) for seat in tried.seats]
    assert max(counts) - min(counts) <= 2


def test_sessions_of_one_slot_make_one_batch() -> None:
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0001 * number]) for number in range(5)], 1, linear(0.002, 0.001))
    tried.run(20)
    assert all(not seat.late for seat in tried.seats)
    # The first is drawn alone, because nothing is known of what waiting may save.
    assert tried.batches[-10:] == [5] * 10


def test_free_threads_share_what_is_there() -> None:
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0]) for _ in range(6)], 2, linear(0.001, 0.004))
    tried.run(10)
    assert tried.batches[-2:] == [3, 3]
    assert all(not seat.late for seat in tried.seats)


def test_a_cheap_face_is_not_worth_another_thread() -> None:
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0]) for _ in range(6)], 2, linear(0.004, 0.0002))
    tried.run(10)
    assert tried.batches[-2:] == [6, 6]


def test_where_batches_save_nothing_each_is_drawn_alone() -> None:
    mouth = FakeMouth()
    tried = Hall([Seat(mouth, [1], [0.0]) for _ in range(6)], 2, linear(0.0, 0.003))
    for faces in (1, 2, 3) * 3:
        tried.scheduler.cost(mouth).observe(faces, 0.003 * faces)
    tried.run(5)
    assert set(tried.batches) == {1}
    assert all(not seat.late for seat in tried.seats)


def test_nobody_is_waited_for_longer_than_a_call() -> None:
    mouth = FakeMouth()
    scheduler = MouthScheduler(1)
    for faces in (1, 4) * 5:
        scheduler.cost(mouth).observe(faces, 0.002 + 0.001 * faces)
    for owner in "ab":
        scheduler.arrive(owner, ask(mouth), -1, 9, 0)
    batch = scheduler.next(0)
    assert batch is not None
    scheduler.drawn(batch, [PATCH] * 2, 0.004)
    scheduler.expect("a", 0.04)
    scheduler.expect("b", 0.04)
    scheduler.arrive("a", ask(mouth), 0.04, 0.072, 0.041)
    assert scheduler.next(0.0411) is None
    assert scheduler.wake(0.0411) == pytest.approx(0.043)
    assert scheduler.next(0.0431) is not None


def test_who_needs_no_mouth_is_not_waited_for() -> None:
    mouth = FakeMouth()
    scheduler = MouthScheduler(1)
    scheduler.cost(mouth).observe(1, 0.01)
    for owner in "ab":
        scheduler.expect(owner, 0)
    scheduler.arrive("b", (), 0, 0.032, 0.0001)
    scheduler.arrive("a", ask(mouth), 0, 0.032, 0.0001)
    assert scheduler.next(0.0001) is not None


def test_a_session_orders_one_tick_at_a_time() -> None:
    mouth, scheduler = FakeMouth(), MouthScheduler(1)
    scheduler.arrive("a", ask(mouth), 0, 0.032, 0)
    with pytest.raises(ValueError, match="one tick at a time"):
        scheduler.arrive("a", ask(mouth), 0.04, 0.072, 0.001)
    assert scheduler.waiting == 1


def test_what_fails_ends_without_a_mouth_and_counts_for_nothing() -> None:
    good, bad = FakeMouth(), FakeMouth()
    tried = Hall([Seat(good, [1], [0.0]), Seat(bad, [1, 2], [0.0])], 1, linear(0.001, 0.002))
    tried.fails = lambda batch: batch.runtime is bad
    tried.run(10)
    assert tried.seats[0].drawn == tried.seats[1].late == list(range(10))
    assert not tried.scheduler.cost(bad).known
    assert tried.scheduler.cost(good).of(1) == pytest.approx(0.003, rel=0.01)


def test_a_runtime_that_hangs_leaves_the_others_a_thread() -> None:
    good, stuck = FakeMouth(), FakeMouth()
    tried = Hall([Seat(good, [1], [0.0]), Seat(stuck, [1], [0.0])], 2, linear(0.001, 0.002))
    tried.hangs = lambda batch: batch.runtime is stuck
    tried.run(20)
    assert tried.seats[0].drawn == list(range(20))
    assert tried.seats[1].late == list(range(20))
    assert [batch.runtime for batch in tried.running] == [stuck]


def test_an_estimate_that_keeps_everybody_away_is_tried_again() -> None:
    """One hiccup of a second must not end drawing for good."""
    mouth = FakeMouth()
    for takes in ([1.0], [0.001, 1.0]):
        slow = iter(takes)
        tried = Hall([Seat(mouth, [1], [0.0])], 1, lambda faces, slow=slow: next(slow, 0.001))  # type: ignore[misc]
        tried.run(50)
        (seat,) = tried.seats
        first = len(takes) - 1
        assert seat.late == list(range(first, seat.late[-1] + 1))
        assert first + 24 <= seat.late[-1] < first + 25 + 7
        assert seat.drawn[-1] == 49


def test_a_session_that_leaves_takes_its_order_along() -> None:
    mouth, scheduler = FakeMouth(), MouthScheduler(1)
    order = scheduler.arrive("a", ask(mouth, 2), 0, 0.032, 0)
    batch = scheduler.next(0)
    assert batch is not None
    assert scheduler.leave("a") == [order]
    assert scheduler.drawn(batch, [PATCH] * 2, 0.01) == []
    assert scheduler.wake(0.01) is None
    assert scheduler.leave("a") == []


def test_runtimes_that_nobody_uses_are_let_go() -> None:
    scheduler = MouthScheduler(1)
    for number in range(3):
        scheduler.arrive("a", ask(FakeMouth()), number, number + 0.03, number)
        batch = scheduler.next(number)
        assert batch is not None
        scheduler.drawn(batch, [PATCH], number + 0.01)
    assert len(scheduler._runtimes) == 1
    scheduler.leave("a")
    assert not scheduler._runtimes


@given(st.floats(0.0, 0.01), st.floats(0.0005, 0.01), st.lists(st.integers(1, 16), min_size=2, max_size=30))
def test_costs_are_learned(call: float, face: float, sizes: list[int]) -> None:
    cost = BatchCost()
    for faces in sizes:
        cost.observe(faces, call + face * faces)
    if len(set(sizes)) > 1 and np.var(sizes) > 0.01 * np.mean(sizes) ** 2:
        assert cost.fit() == pytest.approx((call, face), abs=1e-4, rel=0.05)
    assert cost.of(sizes[0]) == pytest.approx(call + face * sizes[0], rel=0.5)
    assert min(cost.fit()) >= 0


def test_nothing_is_known_at_first() -> None:
    cost = BatchCost()
    assert not cost.known
    assert cost.fit() == (0, 0)
    assert cost.of(9) == 0
