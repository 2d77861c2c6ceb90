"""When each tick is due, and how late it came. No clock and no sleeping here: times are arguments."""

import math
from collections import deque

import numpy as np

from engine.speech.audio import FRAME_RATE

TICK_S = 1.0 / FRAME_RATE
PATIENCE_TICKS = 5
"""A stall longer than this is skipped instead of caught up."""

_WINDOW = 60 * FRAME_RATE


PHASES = 8
"""Moments in a tick's 40 ms at which sessions' ticks are due.

With one, all mouths make one batch, but every session waits for all; with one for each session there are no
batches, which a processor does not miss. A full card still draws many at each of eight.
"""

SPREAD = (0, 4, 2, 6, 1, 5, 3, 7)
"""The phases in the order in which sessions take them, so that few lie far apart."""


def on_grid(now: float, phase: int = 0) -> float:
    """The next moment at which ticks of a phase are due, for all sessions that have it."""
    shift = phase / PHASES
    return (math.ceil(now * FRAME_RATE - shift) + shift) / FRAME_RATE


class Pacer:
    """The schedule of one session: slot n is due at `start + n * 40 ms`, computed, never accumulated.

    A short delay is caught up, since the slots after it are already due. After a longer stall the slots that
    passed are skipped, so that ticks never pile up and the media clock stays the wall clock.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self.slot = 0
        """The slot that comes next; media timestamps are computed from it."""
        self.skipped = 0

    @property
    def due(self) -> float:
        """When the next slot is due, in seconds on the clock of `start`."""
        return self._start + self.slot / FRAME_RATE

    def advance(self, now: float) -> float:
        """The slot has been handed over at `now`: go to the next one. Returns how late it was, in seconds."""
        lateness = now - self.due
        self.slot += 1
        behind = int((now - self.due) * FRAME_RATE)
        if behind > PATIENCE_TICKS:
            self.slot += behind
            self.skipped += behind
        return max(0.0, lateness)


class TickFigures:
    """Lateness of the last minute of ticks and pictures, and counts of all ticks.

    A tick is late once the next one is due.
    """

    def __init__(self) -> None:
        self._lateness: deque[float] = deque(maxlen=_WINDOW)
        self._pictures: deque[float] = deque(maxlen=_WINDOW)
        self._times: deque[float] = deque(maxlen=2 * FRAME_RATE)
        self.ticks = 0
        self.late = 0
        self.mouths_repeated = 0

    def add(self, now: float, lateness: float, *, mouth_repeated: bool = False) -> None:
        """Count a tick handed over at `now`, `lateness` seconds after it was due."""
        self.ticks += 1
        self.mouths_repeated += mouth_repeated
        self.late += lateness > TICK_S
        self._lateness.append(lateness)
        self._times.append(now)

    def add_picture(self, lateness: float) -> None:
        """Count a picture encoded `lateness` seconds after its tick was due."""
        self._pictures.append(lateness)

    @property
    def late_ratio(self) -> float:
        """Share of late ticks, 0 to 1."""
        return self.late / self.ticks if self.ticks else 0.0

    def fps(self) -> float:
        """Ticks a second over the last two seconds."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def percentiles_ms(self) -> dict[str, float]:
        """p50, p95 and p99 of the lateness over the last minute, in milliseconds."""
        return percentiles([1000 * value for value in self._lateness])

    def picture_percentiles_ms(self) -> dict[str, float]:
        """p50, p95 and p99 of the pictures' lateness over the last minute of them, in milliseconds."""
        return percentiles([1000 * value for value in self._pictures])


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95 and p99, rounded to 0.1; zeros when there is nothing."""
    found = np.percentile(values, (50, 95, 99)) if values else np.zeros(3)
    return {name: round(float(value), 1) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}
