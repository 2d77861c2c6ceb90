"""MouthScheduler: the mouths that many sessions need, drawn in few batches and in time.

No clock, no threads, no drawing here: times are arguments, in seconds on any one clock, and whoever drives it
draws the batches.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from engine.anchor.crop import Picture
from engine.mouth.batches import MAX_BATCH
from engine.mouth.request import MouthRequest
from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.mel import Mel

_MEMORY = 0.98
"""What an observed batch still weighs after the next one."""

_CALL_SHARE = 0.2
"""Share of one face's time that is taken to be the call's own, while all batches had one size."""

_OFF = 4.0
"""A batch that took so many times less than estimated ends the estimate; more than that is not believed."""

_WORTH = 0.05
"""Share of a face's time that a call must cost by itself for batches to be worth anything."""

_TRUST_S = 0.25
"""An estimate that let nothing be drawn for so long is put to the test."""

_GRUDGE = 0.95
"""What a late order still weighs at the session's next one."""


@dataclass(slots=True, eq=False)
class Order:
    """The mouths of one session's tick. `patches` has one for each request; None: not drawn in time.

    It is `due` when its tick is, and drawn until `deadline`, or not at all.
    """

    owner: Hashable
    requests: tuple[MouthRequest, ...]
    due: float
    deadline: float
    patches: list[Picture | None]
    open: int
    """Requests that are neither drawn nor failed; 0 when it has ended."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """One request of an order, with its place in the queue."""

    order: Order
    number: int
    arrived: float
    place: int

    @property
    def request(self) -> MouthRequest:
        return self.order.requests[self.number]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Faces to draw in one call of `runtime`, begun at `started`."""

    runtime: MouthRuntime
    items: tuple[_Item, ...]
    started: float

    def __len__(self) -> int:
        return len(self.items)

    @property
    def mels(self) -> Mel:
        """Mel windows (n, 80, 16)."""
        return np.stack([item.request.window for item in self.items])

    @property
    def features(self) -> list[Features]:
        """Features of the n faces."""
        return [item.request.features for item in self.items]

    @property
    def orders(self) -> list[Order]:
        """The order of each face."""
        return [item.order for item in self.items]

    @property
    def deadline(self) -> float:
        """When the first of it is too late."""
        return min(item.order.deadline for item in self.items)


class BatchCost:
    """What a batch of a runtime costs: `call + face * n` seconds, fitted to the batches of late."""

    def __init__(self) -> None:
        self._weight = self._faces = self._squares = self._seconds = self._products = 0.0

    @property
    def known(self) -> bool:
        """Whether any batch was seen."""
        return self._weight > 0

    def observe(self, faces: int, seconds: float) -> None:
        """A batch of so many faces took so long."""
        if self.known:
            if seconds * _OFF < self.of(faces):
                # What it learned was a hiccup, such as a network's first call.
                self._weight = self._faces = self._squares = self._seconds = self._products = 0.0
            else:
                seconds = min(seconds, _OFF * self.of(faces))
        self._weight = _MEMORY * self._weight + 1
        self._faces = _MEMORY * self._faces + faces
        self._squares = _MEMORY * self._squares + faces * faces
        self._seconds = _MEMORY * self._seconds + seconds
        self._products = _MEMORY * self._products + faces * seconds

    def fit(self) -> tuple[float, float]:
        """Seconds of a call and of each face in it, by least squares; zeros while nothing is known."""
        if not self.known:
            return 0.0, 0.0
        faces, seconds = self._faces / self._weight, self._seconds / self._weight
        squares = self._squares / self._weight
        spread = squares - faces * faces
        if spread < 1e-3 * squares:
            one = seconds / (_CALL_SHARE + (1 - _CALL_SHARE) * faces)
            return _CALL_SHARE * one, (1 - _CALL_SHARE) * one
        slope = (self._products / self._weight - faces * seconds) / spread
        # Noise must not make a face free, nor a call cheaper than nothing.
        face = min(max(slope, 0.01 * seconds / faces), seconds / faces)
        return max(0.0, seconds - face * faces), face

    def of(self, faces: int) -> float:
        """Seconds that a batch of so many faces will take."""
        call, face = self.fit()
        return call + face * faces


@dataclass(slots=True)
class _Member:
    """A session: when its next tick is due while that has not come, what drew its last mouth, and how often
    its orders were late for want of time, the older the lighter.
    """

    due: float | None = None
    runtime: MouthRuntime | None = None
    late: float = 0.0


@dataclass(slots=True)
class _Runtime:
    """What is known of a runtime."""

    cost: BatchCost = field(default_factory=BatchCost)
    running: list[Batch] = field(default_factory=list)
    drew: float = float("-inf")
    """When it finished a batch last."""


class MouthScheduler:
    """Turns the orders of many sessions into batches for `lanes` threads, `largest` faces in one at most.

    What is due first is drawn first; of what is due together, first whoever was late most. Each session has
    one order at a time, so that the queue is bounded; an order that is not drawn by its deadline, or cannot
    be as far as the learned cost tells, ends without its mouth instead of delaying others. A runtime whose
    batch is overdue gets no other until that one is back, so that one that hangs takes few threads with it.

    A batch waits for sessions whose tick is due as well, but no longer than the wait can save: the time of
    one call. So it never costs more than twice what the best decision would have cost. For one who was late
    more often it waits as long as a face takes, or else who comes first would always be served.
    """

    def __init__(self, lanes: int, largest: int = MAX_BATCH) -> None:
        self._lanes = lanes
        self._largest = largest
        self._members: defaultdict[Hashable, _Member] = defaultdict(_Member)
        self._orders: dict[Hashable, Order] = {}
        self._waiting: list[_Item] = []
        self._runtimes: defaultdict[MouthRuntime, _Runtime] = defaultdict(_Runtime)
        self._places = count()

    @property
    def waiting(self) -> int:
        """Requests that are in no batch yet."""
        return len(self._waiting)

    def cost(self, runtime: MouthRuntime) -> BatchCost:
        """What is known of the time that a runtime takes."""
        return self._runtimes[runtime].cost

    def expect(self, owner: Hashable, due: float) -> None:
        """The next tick of a session is due then; it will `arrive`, with requests or without."""
        self._members[owner].due = due

    def arrive(
        self, owner: Hashable, requests: Sequence[MouthRequest], due: float, deadline: float, now: float
    ) -> Order | None:
        """A session's tick has begun; None if it needs no mouth. ValueError while its last order is open."""
        member = self._members[owner]
        member.due = None
        if not requests:
            return None
        if owner in self._orders:
            raise ValueError("a session orders the mouths of one tick at a time")
        if member.runtime is not requests[0].mouth:
            member.runtime = requests[0].mouth
            self._tidy()
        member.late *= _GRUDGE
        order = Order(owner, tuple(requests), due, deadline, [None] * len(requests), len(requests))
        self._orders[owner] = order
        self._waiting += [_Item(order, number, now, next(self._places)) for number in range(order.open)]
        return order

    def leave(self, owner: Hashable) -> list[Order]:
        """A session is over; its order, if there is one, ends undrawn."""
        self._members.pop(owner, None)
        order = self._orders.get(owner)
        ended = [self._end(order)] if order else []
        self._tidy()
        return ended

    def ready(self, now: float) -> list[float]:
        """When the batches are due that could be drawn now, if a thread took each; the most urgent first."""
        dues: list[float] = []
        groups = self._groups(now)
        for runtime, items in groups:
            if self._wait(runtime, items, now) <= now:
                size = self._size(runtime, items, self._share(groups), now)
                dues += [items[place].order.due for place in range(0, len(items), size)]
        return dues[: self._free]

    def next(self, now: float) -> Batch | None:
        """What a free thread is to draw now; None when there is nothing, or it had better wait."""
        groups = self._groups(now)
        for runtime, items in groups if self._free > 0 else ():
            if self._wait(runtime, items, now) > now:
                continue
            size = self._size(runtime, items, self._share(groups), now)
            batch = Batch(runtime, tuple(items[:size]), now)
            taken = set(batch.items)
            self._waiting = [item for item in self._waiting if item not in taken]
            self._runtimes[runtime].running.append(batch)
            return batch
        return None

    def drawn(self, batch: Batch, patches: Iterable[Picture], now: float) -> list[Order]:
        """A batch is back with RGB uint8 (S, S, 3) for each item; returns the orders that end with it."""
        runtime = self._back(batch)
        runtime.cost.observe(len(batch), now - batch.started)
        runtime.drew = now
        return self._ended(batch, patches)

    def failed(self, batch: Batch) -> list[Order]:
        """A batch could not be drawn; returns the orders that end with it."""
        self._back(batch)
        return self._ended(batch, [None] * len(batch))

    def late(self, now: float) -> list[Order]:
        """The orders that end now because they were not, or will not be, drawn in time."""
        waiting = {item.order for item in self._waiting}
        found = [
            order
            for order in self._orders.values()
            if now >= order.deadline or (order in waiting and self._hopeless(order, now))
        ]
        for order in found:
            self._members[order.owner].late += 1
            self._end(order)
        return found

    def wake(self, now: float) -> float | None:
        """When `next` or `late` will have something to do although nothing has happened; None: never."""
        moments = [order.deadline for order in self._orders.values()]
        moments += [self._wait(runtime, items, now) for runtime, items in self._groups(now)]
        later = [moment for moment in moments if moment > now]
        return min(later) if later else None

    @property
    def _free(self) -> int:
        """Threads that draw nothing."""
        return self._lanes - sum(len(runtime.running) for runtime in self._runtimes.values())

    def _share(self, groups: Sized) -> int:
        """How many of the free threads one group may take."""
        return max(1, self._free - len(groups) + 1)

    def _groups(self, now: float) -> list[tuple[MouthRuntime, list[_Item]]]:
        """What waits, by runtimes that can take it, the most urgent first."""
        groups: defaultdict[MouthRuntime, list[_Item]] = defaultdict(list)
        for item in sorted(self._waiting, key=self._urgency):
            groups[item.request.mouth].append(item)
        return [
            (runtime, items)
            for runtime, items in groups.items()
            if all(batch.deadline > now for batch in self._runtimes[runtime].running)
        ]

    def _urgency(self, item: _Item) -> tuple[float, float, int]:
        # To the millisecond: ticks of one slot are due together, whatever was rounded.
        return round(item.order.due, 3), -self._members[item.order.owner].late, item.place

    def _wait(self, runtime: MouthRuntime, items: list[_Item], now: float) -> float:
        """Until when it may pay to wait for more faces; `now` when it does not."""
        cost = self._runtimes[runtime].cost
        call, face = cost.fit()
        first = min(item.arrived for item in items)
        coming = [
            member
            for member in self._members.values()
            if member.runtime is runtime and member.due is not None and member.due < first + call + face
        ]
        least = min(self._members[item.order.owner].late for item in items)
        if any(member.late > least for member in coming):
            until = first + max(call, face)
        elif any(member.due is not None and member.due < first + call for member in coming):
            until = first + call
        else:
            return now
        latest = min(item.order.deadline for item in items) - cost.of(1)
        return max(now, min(until, latest))

    def _size(self, runtime: MouthRuntime, items: list[_Item], free: int, now: float) -> int:
        """How many of the items one batch takes, when so many threads are free for them."""
        state = self._runtimes[runtime]
        call, face = state.cost.fit()
        if state.cost.known and call < _WORTH * face:
            return 1  # together they are no quicker, and the first is done sooner alone
        parts = 1
        # Another thread saves time as long as it draws more than its own call costs.
        while parts < min(free, len(items)):
            saved = face * (-(-len(items) // parts) - -(-len(items) // (parts + 1)))
            if saved <= call:
                break
            parts += 1
        size = min(self._largest, -(-len(items) // parts))
        if self._trusted(state, now):
            first = min(item.order.deadline for item in items[:size])
            while size > 1 and now + state.cost.of(size) > first:
                size -= 1
        return size

    def _hopeless(self, order: Order, now: float) -> bool:
        state = self._runtimes[order.requests[0].mouth]
        return self._trusted(state, now) and now + state.cost.of(1) > order.deadline

    def _trusted(self, state: _Runtime, now: float) -> bool:
        return now - state.drew < _TRUST_S

    def _tidy(self) -> None:
        """Forget runtimes that no session uses any more, so that they can be let go."""
        used = {member.runtime for member in self._members.values()}
        for runtime, state in list(self._runtimes.items()):
            if runtime not in used and not state.running:
                del self._runtimes[runtime]

    def _back(self, batch: Batch) -> _Runtime:
        runtime = self._runtimes[batch.runtime]
        runtime.running.remove(batch)
        return runtime

    def _ended(self, batch: Batch, patches: Iterable[Picture | None]) -> list[Order]:
        ended = []
        for item, patch in zip(batch.items, patches, strict=True):
            order = item.order
            if self._orders.get(order.owner) is not order:
                continue  # it was late, or its session is over
            order.patches[item.number] = patch
            order.open -= 1
            if not order.open:
                ended.append(self._end(order))
        return ended

    def _end(self, order: Order) -> Order:
        del self._orders[order.owner]
        order.open = 0
        self._waiting = [item for item in self._waiting if item.order is not order]
        return order
