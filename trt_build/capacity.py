"""`koubo bench gpu`: how many streams one card draws in time, 25 pictures a second each.

The ticks of N streams are due at evenly spread moments. Workers take whatever is due, draw it in one call,
and each picture's delay is the time from its being due to its lying in the host's memory.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import ceil, floor
from threading import Lock
from typing import Any, Protocol

import numpy as np

from engine.mouth.batches import LADDER, MAX_BATCH
from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.audio import FRAME_RATE
from engine.speech.mel import Mel
from trt_build.bench import percentiles_ms, random_faces, random_mels

LIMIT_MS = 1000 / FRAME_RATE
"""A picture is late once the next one is due."""

_ANCHORS = 128
"""Anchor frames that the streams share, as sessions of one presenter do: more than a card's cache holds."""

_LEAST_TICKS = 1000
_SETTLE_S = 0.5
_GROWTH_MS = 4.0
_HOPELESS_S = 1.0
_RESOLUTION = 0.02
_FIRST = 16
_STRIDE = 7


class Clock(Protocol):
    """Time, and the threads that live in it."""

    def now(self) -> float:
        """Seconds."""
        ...

    def sleep_until(self, moment: float) -> None:
        """Returns at `moment` or later."""
        ...

    def together(self, work: Callable[[], None], workers: int) -> None:
        """Runs `work` in so many threads at once until all have ended; raises what one of them raised."""
        ...


class WallClock:
    """The Clock of this machine."""

    def now(self) -> float:
        """Seconds of the performance counter."""
        return time.perf_counter()

    def sleep_until(self, moment: float) -> None:
        """Sleeps; returns at once when `moment` has passed."""
        time.sleep(max(0.0, moment - time.perf_counter()))

    def together(self, work: Callable[[], None], workers: int) -> None:
        """Threads of a pool."""
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()


@dataclass(frozen=True, slots=True)
class Step:
    """What N streams met: percentiles of the delay in ms, faces a call, and why it failed, or nothing."""

    streams: int
    delay_ms: dict[str, float]
    mean_batch: float
    failure: str

    @property
    def passed(self) -> bool:
        """Whether the pictures came in time."""
        return not self.failure


class Stage:
    """A warm mouth with its anchor features on the card and speech windows at hand."""

    def __init__(self, mouth: MouthRuntime, seed: int = 0, anchors: int = _ANCHORS) -> None:
        self._mouth = mouth
        self._mels: Mel = random_mels(seed)
        self._anchors: Sequence[Features] = mouth.encode(random_faces(mouth.size, anchors, seed))

    def draw(self, ticks: range, streams: int) -> None:
        """Draws these ticks, counted over all streams, each on its stream's anchor frame of the moment."""
        places = [tick // streams + _STRIDE * (tick % streams) for tick in ticks]
        mels = self._mels[[tick % len(self._mels) for tick in ticks]]
        self._mouth.decode(mels, [self._anchors[place % len(self._anchors)] for place in places])

    def warm(self, clock: Clock, workers: int) -> None:
        """Every batch of the ladder, by all workers at once, so that nothing is prepared while it counts."""

        def work() -> None:
            for size in LADDER:
                self.draw(range(size), size)

        clock.together(work, workers)


class _Ticks:
    """The ticks of all streams in the order they are due, handed out to workers; how late they were drawn."""

    def __init__(self, streams: int, total: int, start: float) -> None:
        self._rate = streams * FRAME_RATE
        self._start = start
        self._lock = Lock()
        self._next = 0
        self._total = total
        self._batches: list[tuple[range, float]] = []

    def take(self, now: float) -> tuple[range, float | None]:
        """Ticks that are due, MAX_BATCH at most; none: when the next one is, or None when that was all."""
        with self._lock:
            # The hair's breadth: a worker that slept until a tick is due finds it due, whatever was rounded.
            due = min(self._total, 1 + floor((now - self._start) * self._rate + 1e-6))
            ticks = range(self._next, min(due, self._next + MAX_BATCH))
            if ticks:
                self._next = ticks.stop
                return ticks, None
            return range(0), self._due(self._next) if self._next < self._total else None

    def drawn(self, ticks: range, now: float) -> None:
        """They lie in memory. A step that is a second behind is given up."""
        with self._lock:
            self._batches.append((ticks, now))
            if now - self._due(ticks.start) > _HOPELESS_S:
                self._total = self._next

    def close(self) -> None:
        """No more ticks for anybody."""
        with self._lock:
            self._total = self._next

    def delays(self) -> tuple[list[float], float]:
        """Seconds from due to drawn, in the order of the ticks, the first half second apart; faces a call."""
        settled = [(ticks, at) for ticks, at in sorted(self._batches, key=lambda item: item[0].start)]
        skip = floor(_SETTLE_S * self._rate)
        found = [at - self._due(tick) for ticks, at in settled for tick in ticks if tick >= skip]
        if not found:
            found = [at - self._due(tick) for ticks, at in settled for tick in ticks]
        return found, sum(len(ticks) for ticks, _ in settled) / len(settled)

    def _due(self, tick: int) -> float:
        return self._start + tick / self._rate


def carry(stage: Stage, streams: int, seconds: float, *, workers: int, clock: Clock) -> Step:
    """Draw `streams` streams for `seconds` (longer where that is under 1000 ticks) and say how it went."""
    rate = streams * FRAME_RATE
    total = max(_LEAST_TICKS, ceil(seconds * rate)) + floor(_SETTLE_S * rate)
    ticks = _Ticks(streams, total, clock.now())

    def work() -> None:
        try:
            while True:
                batch, due = ticks.take(clock.now())
                if batch:
                    stage.draw(batch, streams)
                    ticks.drawn(batch, clock.now())
                elif due is not None:
                    clock.sleep_until(due)
                else:
                    return
        finally:
            # When one worker fails, the others are not left to draw the rest.
            ticks.close()

    clock.together(work, workers)
    delays, mean_batch = ticks.delays()
    figures = percentiles_ms(delays)
    return Step(streams, figures, round(mean_batch, 1), _failure(delays, figures["p99"]))


def _failure(delays: Sequence[float], p99: float) -> str:
    third = max(1, len(delays) // 3)
    growth = 1000 * float(np.median(delays[-third:]) - np.median(delays[:third]))
    if p99 >= LIMIT_MS:
        return f"p99 is {p99:.1f} ms"
    if growth > _GROWTH_MS:
        return f"the queue grows: {growth:.1f} ms later at the end"
    return ""


def capacity(
    stage: Stage,
    *,
    workers: int = 2,
    seconds: float = 3.0,
    clock: Clock,
    tell: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """The most streams that pass, to about 2 %: from 16 on doubled until they fail, then halved in between.

    `tell` is told of each step. Returns {"streams", "delay_ms", "mean_batch", "workers", "limit_ms",
    "steps"}; with 0 streams the delays are those of the one stream that failed.
    """
    steps: list[Step] = []

    def passes(streams: int) -> bool:
        steps.append(carry(stage, streams, seconds, workers=workers, clock=clock))
        if tell:
            tell(steps[-1])
        return steps[-1].passed

    stage.warm(clock, workers)
    low, high = 0, _FIRST
    while passes(high):
        low, high = high, 2 * high
    while high - low > max(1, _RESOLUTION * low):
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    steps.sort(key=lambda step: step.streams)
    best = next(step for step in steps if step.streams == max(1, low))
    return {
        "streams": low,
        "delay_ms": best.delay_ms,
        "mean_batch": best.mean_batch,
        "workers": workers,
        "limit_ms": LIMIT_MS,
        "steps": [asdict(step) for step in steps],
    }
