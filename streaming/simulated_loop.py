"""Time that is made, not waited for: an event loop whose clock leaps to whatever is due next.

What would be computed in threads is computed at once, on the loop, and takes no time: the same program gives
the same ticks each run, and hours pass in the time that the work itself takes.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from streaming.drawing import Figures, Workers

T = TypeVar("T")


class _Leaping(selectors.DefaultSelector):
    """Never waits: when nothing has come, time passes instead. `leap` is called with the seconds."""

    def __init__(self, leap: Callable[[float], None]) -> None:
        super().__init__()
        self._leap = leap

    def select(self, timeout: float | None = None) -> Any:
        """What has come by now; RuntimeError when nothing ever will."""
        events = super().select(0)
        if not events and timeout != 0:
            if timeout is None:
                raise RuntimeError("everything waits, and nothing is due")
            self._leap(timeout)
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own, in seconds from 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Leaping(self.leap))

    def time(self) -> float:
        """Seconds of simulated time."""
        return self._now

    def leap(self, seconds: float) -> None:
        """Let time pass during which nothing ran, as when a machine stalls."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Compute at once; the result is there when the loop comes round again."""

        async def compute() -> T:
            return func(*args)

        return self.create_task(compute())


class SimulatedWorkers(Workers):
    """Workers of one loop: jobs are done by it, what is due first, first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, figures: Figures | None = None) -> None:
        self._loop = loop
        super().__init__(1, figures, loop.time)

    def submit(self, due: float, work: Callable[[], T], kind: str = "other") -> Future[T]:
        """Have it done soon, never now: who submits may hold a lock."""
        future = super().submit(due, work, kind)
        self._loop.call_soon(self._next)
        return future

    def _work(self, name: str) -> None:
        """The thread has nothing to do."""

    def _next(self) -> None:
        with self._news:
            first = self._first()
            assert first is not None  # there is one for each call
            self._jobs.remove(first)
        first[-1].run()


def run_simulated(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)
