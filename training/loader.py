"""Batches made ahead by threads, each of them a function of its number alone.

So a training that resumes at step n sees the batches that it would have seen, bit for bit.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

Batch = TypeVar("Batch")
Random = np.random.Generator

_AHEAD = 6
_THREADS = 2


class Ahead(Generic[Batch]):
    """Endless batches from step `start` on; `make` gets a step's own random numbers."""

    def __init__(self, make: Callable[[Random], Batch], seed: tuple[int, ...], start: int = 0) -> None:
        self._make, self._seed, self._start = make, seed, start

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(_THREADS, "batches") as pool:
            waiting: deque[Future[Batch]] = deque()
            step = self._start
            try:
                while True:
                    while len(waiting) < _AHEAD:
                        waiting.append(pool.submit(self._make, np.random.default_rng([*self._seed, step])))
                        step += 1
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
