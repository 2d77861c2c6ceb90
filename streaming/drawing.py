"""Where all sessions' ticks are made: one pool of threads for everything, and the mouths drawn together."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from engine.anchor.crop import Picture
from engine.mouth.batches import MAX_BATCH
from engine.mouth.request import MouthRequest
from engine.mouth.scheduler import MouthScheduler, Order
from streaming.pacing import TICK_S

logger = logging.getLogger(__name__)

T = TypeVar("T")

Patches: TypeAlias = Sequence[Picture | None]

FINISH_S = 0.008
"""What is kept of a tick's 40 ms for what comes after its mouth: paste, label and sound."""

_TALKATIVE = frozenset({"paste"})
"""Kinds of jobs that go to and fro between Python and short calls without its lock.

Side by side they wait for each other at each step: two at once cost a quarter more than one after another.
"""

_QUIET_S = 10.0
"""Faults of a runtime that follow each other sooner are one burst, told once."""


class Figures(Protocol):
    """Hears what was done; `streaming.metrics.Metrics` is one."""

    def work(self, kind: str, seconds: float) -> None:
        """A job of a kind took so much processor time."""
        ...

    def mouth_batch(self, faces: int) -> None:
        """So many faces were drawn in one call."""
        ...


def name_thread(name: str) -> None:
    """Have the system know this thread by name, 15 characters at most: `top -H` tells what it does."""
    own = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    if own.exists():
        own.write_text(name)


class Begun(Protocol):
    """A tick that was begun, such as `engine.live.Pending`."""

    @property
    def requests(self) -> tuple[MouthRequest, ...]:
        """The mouths that it needs."""
        ...


B = TypeVar("B", bound=Begun)


class _Job(Generic[T]):
    """Work that waits for a thread. As a context it hands whatever its work raises to who waits for it."""

    def __init__(self, work: Callable[[], T], kind: str) -> None:
        self.kind = kind
        self.future: Future[T] = Future()
        self._work = work

    def run(self) -> None:
        if self.future.set_running_or_notify_cancel():
            with self:
                self.future.set_result(self._work())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self.future.set_exception(error)
        return True


class Workers:
    """As many threads as there are cores, for whatever the sessions need computed: what is due first, first.

    Jobs are single-threaded and take milliseconds; of those that need Python's lock much, only half of the
    threads take one at a time. `figures` hears the processor time of each. As a context it ends with its
    block: jobs that have not begun are cancelled, the others finish.
    """

    def __init__(
        self,
        threads: int | None = None,
        figures: Figures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`threads` None: one for each core. `clock`: seconds, of which "due" is told."""
        self.threads = threads or os.cpu_count() or 1
        self.clock = clock
        self._figures = figures
        self._jobs: list[tuple[float, int, _Job[Any]]] = []
        self._places = count()
        self._news = threading.Condition()
        self._closed = False
        self._talkative = 0
        """Jobs of _TALKATIVE that run now."""
        self._crew = [
            threading.Thread(target=self._work, args=(f"work_{number}",), name=f"work_{number}")
            for number in range(self.threads)
        ]
        for thread in self._crew:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, due: float, work: Callable[[], T], kind: str = "other") -> Future[T]:
        """Have a thread do this, after all that is due earlier. RuntimeError when closed.

        `kind`, for the figures: "begin", "mouth", "paste", "encode".
        """
        job = _Job(work, kind)
        with self._news:
            if self._closed:
                raise RuntimeError("the workers have gone home")
            self._jobs.append((due, next(self._places), job))
            self._news.notify()
        return job.future

    async def run(self, due: float, work: Callable[[], T], kind: str = "other") -> T:
        """As `submit`, and wait for what it returns or raises."""
        return await asyncio.wrap_future(self.submit(due, work, kind))

    def close(self) -> None:
        """No more jobs; waits for those that have begun. A second time it does nothing."""
        with self._news:
            self._closed = True
            left, self._jobs = self._jobs, []
            self._news.notify_all()
        for _, _, job in left:
            job.future.cancel()
        for thread in self._crew:
            thread.join()

    def _work(self, name: str) -> None:
        name_thread(name)
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._first() is not None)
                first = self._first()
                if first is None or self._closed:
                    return
                self._jobs.remove(first)
                job = first[-1]
                self._talkative += job.kind in _TALKATIVE
            began = time.thread_time()
            job.run()
            if self._figures:
                self._figures.work(job.kind, time.thread_time() - began)
            if job.kind in _TALKATIVE:
                with self._news:
                    self._talkative -= 1
                    self._news.notify()
            del job, first  # a thread that waits for the next one keeps nothing of it alive

    def _first(self) -> tuple[float, int, _Job[Any]] | None:
        """What a free thread is to do. Under the lock."""
        full = self._talkative >= max(1, self.threads // 2)
        ready = [entry for entry in self._jobs if not (full and entry[-1].kind in _TALKATIVE)]
        return min(ready, key=lambda entry: entry[:2], default=None)


@dataclass(frozen=True, slots=True, eq=False)
class _Making:
    """A tick in the making: what is left to do once its mouths are drawn, and who waits for it."""

    due: float
    complete: Callable[[Patches], Any]
    drew: Callable[[float], None]
    made: Future[Any]


class MouthRoom:
    """Where the mouths of all sessions are drawn, in batches that `engine.mouth.scheduler` decides on.

    A tick goes from thread to thread by itself; the event loop hears of it when it is made. Belongs to the
    event loop that it is made in.
    """

    def __init__(self, workers: Workers, figures: Figures | None = None, largest: int = MAX_BATCH) -> None:
        """`largest`: the most faces of one batch."""
        self._workers = workers
        self._figures = figures
        self._clock = workers.clock
        self._scheduler = MouthScheduler(workers.threads, largest)
        self._owners: set[Hashable] = set()
        self._makings: dict[Order, _Making] = {}
        self._lock = threading.Lock()
        self._asked = 0
        """Jobs in the queue that will each draw a batch, whichever is best by then."""
        self._loop = asyncio.get_running_loop()
        self._alarm = float("inf")
        self._fault_at = float("-inf")

    def enter(self, owner: Hashable) -> None:
        """A session begins."""
        with self._lock:
            self._owners.add(owner)

    def leave(self, owner: Hashable) -> None:
        """A session is over; of a tick in the making nothing more becomes."""
        with self._lock:
            self._owners.discard(owner)
            for order in self._scheduler.leave(owner):
                del self._makings[order]

    def expect(self, owner: Hashable, due: float) -> None:
        """The next tick of a session is due then: mouths that are due as well may wait for it, a little."""
        with self._lock:
            self._scheduler.expect(owner, due)

    async def tick(
        self,
        owner: Hashable,
        due: float,
        begin: Callable[[], B],
        complete: Callable[[B, Patches], T],
        drew: Callable[[float], None],
    ) -> T:
        """Make a session's tick that is due then: `begin`, its mouths, `complete`; each by some thread.

        A mouth that is not drawn in time, or whose runtime fails, is None. `drew` hears the seconds of each
        that is drawn. One tick of a session at a time; raises what `begin` or `complete` raises.
        """
        made: Future[T] = Future()
        made.set_running_or_notify_cancel()  # who gives up waiting does not stop the work

        def start() -> None:
            pending = begin()
            making = _Making(due, lambda patches: complete(pending, patches), drew, made)
            with self._lock:
                if owner not in self._owners:
                    return
                deadline = due + TICK_S - FINISH_S
                order = self._scheduler.arrive(owner, pending.requests, due, deadline, self._clock())
                if order is not None:
                    self._makings[order] = making
                self._step()
            if order is None:
                made.set_result(complete(pending, ()))

        self._submit(due, start, "begin", made)
        return await asyncio.wrap_future(made)

    def _submit(self, due: float, work: Callable[[], None], kind: str, made: Future[Any]) -> None:
        def check(done: Future[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                made.set_exception(error)

        self._workers.submit(due, work, kind).add_done_callback(check)

    def _step(self) -> None:
        """Go on with whatever can go on now. Under the lock."""
        now = self._clock()
        self._end(self._scheduler.late(now))
        for due in self._scheduler.ready(now)[self._asked :]:
            self._asked += 1
            self._workers.submit(due, self._draw, "mouth").add_done_callback(self._check)
        wake = self._scheduler.wake(now)
        if wake is not None and wake < self._alarm:
            self._alarm = wake
            self._loop.call_soon_threadsafe(self._set_alarm, wake)

    def _end(self, orders: list[Order]) -> None:
        """Have ticks completed whose mouths are there, or will not be. Under the lock."""
        for order in orders:
            making = self._makings.pop(order)
            self._submit(making.due, partial(_complete, making, order), "paste", making.made)

    def _draw(self) -> None:
        """Draw a batch, if there still is one; in a thread."""
        with self._lock:
            self._asked -= 1
            now = self._clock()
            self._end(self._scheduler.late(now))
            batch = self._scheduler.next(now)
            # Before the next step, which may find some of them late already.
            drew = [self._makings[order].drew for order in batch.orders] if batch else []
            self._step()
            if batch is None:
                return
        patches: Picture | None = None
        try:
            patches = batch.runtime.decode(batch.mels, batch.features)
        finally:
            # Whatever it raises reaches `_check`; the sessions go on with the mouths that they have.
            with self._lock:
                now = self._clock()
                done = (
                    self._scheduler.failed(batch)
                    if patches is None
                    else self._scheduler.drawn(batch, patches, now)
                )
                self._end(done)
                self._step()
        if self._figures:
            self._figures.mouth_batch(len(batch))
        for one in drew:
            one((now - batch.started) / len(batch))

    def _check(self, drawn: Future[None]) -> None:
        """Tell of a batch that failed, once while others fail soon after."""
        if drawn.cancelled() or (error := drawn.exception()) is None:
            return
        now = self._clock()
        with self._lock:
            again, self._fault_at = now - self._fault_at < _QUIET_S, now
        if not again:
            logger.error("mouths could not be drawn; the last ones are shown again", exc_info=error)

    def _set_alarm(self, moment: float) -> None:
        self._loop.call_later(max(0.0, moment - self._clock()), self._ring)

    def _ring(self) -> None:
        with self._lock:
            self._alarm = float("inf")
            self._step()


def _complete(making: _Making, order: Order) -> None:
    making.made.set_result(making.complete(order.patches))
