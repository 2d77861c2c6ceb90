"""Time that is made, not waited for: a clock whose threads run in lock step, and a mouth on it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count

import numpy as np

from engine.anchor.crop import Picture
from engine.mouth.batches import MAX_BATCH
from engine.mouth.runtime import Features, WholeSquare
from engine.speech.mel import Mel
from trt_build.capacity import Clock


class SimulatedClock:
    """Threads in lock step: one runs at a time, and nothing takes time but sleeping."""

    def __init__(self) -> None:
        self._now = 0.0
        self._turn = threading.Condition()
        self._sleeping: list[tuple[float, int]] = []
        self._awake: set[int] = set()
        self._running = 0
        self._tickets = count()

    def now(self) -> float:
        return self._now

    def sleep_until(self, moment: float) -> None:
        if moment > self._now:
            self._wait(moment)

    def together(self, work: Callable[[], None], workers: int) -> None:
        def run() -> None:
            self._wait(self._now)
            try:
                work()
            finally:
                with self._turn:
                    self._rest()

        self._running = workers
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(run) for _ in range(workers)]:
                done.result()

    def _wait(self, moment: float) -> None:
        ticket = next(self._tickets)
        with self._turn:
            heappush(self._sleeping, (moment, ticket))
            self._rest()
            self._turn.wait_for(lambda: ticket in self._awake)

    def _rest(self) -> None:
        self._running -= 1
        if self._running == 0 and self._sleeping:
            self._now, ticket = heappop(self._sleeping)
            self._awake.add(ticket)
            self._running = 1
            self._turn.notify_all()


class TimedMouth(WholeSquare):
    """A MouthRuntime whose calls take `call + face * n` seconds, one after the other, as on one card."""

    name = "fake"
    precision = "f16"
    size = 2

    def __init__(self, clock: Clock, call: float, face: float) -> None:
        self.clock = clock
        self.call = call
        self.face = face
        self.free = 0.0
        self.batches: list[int] = []
        self.drawn: list[int] = []

    def encode(self, faces: Picture) -> list[Features]:
        return [(number,) for number in range(len(faces))]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        assert len(mels) == len(features) <= MAX_BATCH
        self.batches.append(len(mels))
        self.drawn += [number for (number,) in features]
        self.free = max(self.free, self.clock.now()) + self.call + self.face * len(mels)
        self.clock.sleep_until(self.free)
        return np.zeros((len(mels), 2, 2, 3), np.uint8)
