"""What a long run says: does it drift, does it grow? Samples in, verdicts out. No clock, no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.pacing import TICK_S

BLOCKS = 24
"""Means of so many blocks are fitted: neighbouring samples of memory are alike, means of minutes hardly."""

_T = 2.074
"""Student's t for 95 % and the 22 degrees of freedom that 24 means leave a line."""

HEAP_STEP_MB = 0.128
"""glibc's heap grows by such steps (M_TOP_PAD): memory is not known more finely, however quiet a run is."""

NOTICEABLE_MB_PER_HOUR = 10.0
"""Memory that could grow by this much is not known to be flat, however wide the noise: 80 MB in 8 hours."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A line's rise per hour, between `low` and `high` with 95 % confidence."""

    per_hour: float
    low: float
    high: float

    @property
    def flat(self) -> bool:
        """Whether a rise of nothing explains it."""
        return self.low <= 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of a run against what it must be."""

    name: str
    value: str
    limit: str
    met: bool


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The line through samples, by least squares over the means of 24 blocks; None of fewer samples."""
    if len(seconds) < BLOCKS:
        return None
    hours, heights = (_means(np.asarray(line, np.float64)) for line in (seconds, values))
    hours = hours / 3600
    centred = hours - hours.mean()
    spread = float((centred**2).sum())
    if spread == 0:
        return None
    rise = float((centred * heights).sum()) / spread
    rest = heights - heights.mean() - rise * centred
    error = _T * float(np.sqrt((rest**2).sum() / (BLOCKS - 2) / spread))
    return Slope(rise, rise - error, rise + error)


def _means(line: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([part.mean() for part in np.array_split(line, BLOCKS)])


def drift_ms(seconds: Sequence[float], delays_ms: Sequence[float]) -> Slope | None:
    """How far delays have moved from the first sample to the last, in ms over the whole run (not an hour)."""
    found = slope(seconds, delays_ms)
    if found is None:
        return None
    hours = (seconds[-1] - seconds[0]) / 3600
    return Slope(found.per_hour * hours, found.low * hours, found.high * hours)


def ticks_of(milliseconds: float) -> int:
    """Whole ticks in a drift, rounded."""
    return round(abs(milliseconds) / (1000 * TICK_S))


def told(found: Slope, digits: int = 2) -> str:
    """A slope as people write it: what it is, and its confidence interval."""
    return f"{found.per_hour:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"


def drift_verdict(name: str, found: Slope | None) -> Verdict:
    """Drift of one clock against another: no tick over the whole run."""
    if found is None:
        return Verdict(name, "too few samples", "0 ticks", met=False)
    ticks = ticks_of(found.per_hour)
    return Verdict(name, f"{ticks} ticks, {told(found)} ms", "0 ticks", ticks == 0)


def memory_verdict(name: str, found: Slope | None, hours: float) -> Verdict:
    """Growth of memory in MB an hour, over `hours`: none within the noise, and the noise small.

    Two steps of the heap in the whole run are none.
    """
    limit = f"0 within the interval, which ends below {NOTICEABLE_MB_PER_HOUR:g} MB/h"
    if found is None:
        return Verdict(name, "too few samples", limit, met=False)
    met = found.low * hours <= 2 * HEAP_STEP_MB and found.high < NOTICEABLE_MB_PER_HOUR
    return Verdict(name, f"{told(found)} MB/h", limit, met)


def count_verdict(name: str, samples: Sequence[float], most: float = 1.0) -> Verdict:
    """Descriptors or threads: the median of the last third against that of the first."""
    third = max(1, len(samples) // 3)
    if not samples:
        return Verdict(name, "no samples", f"{most:g} more at most", met=False)
    first, last = float(np.median(samples[:third])), float(np.median(samples[-third:]))
    return Verdict(name, f"{first:g} -> {last:g}", f"{most:g} more at most", last - first <= most)


def column(lines: Sequence[dict[str, Any]], name: str) -> list[float]:
    """One figure of every sample that has it."""
    return [float(line[name]) for line in lines if line.get(name) is not None]


def named(name: str) -> Callable[[dict[str, Any]], float | None]:
    """Reads a figure of a line, None where it has none."""
    return lambda line: line.get(name)


def pairs(
    lines: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]
) -> tuple[list[float], list[float]]:
    """Times and values of the samples that have one."""
    found = [(float(line["at"]), value(line)) for line in lines]
    kept = [(at, number) for at, number in found if number is not None]
    return [at for at, _ in kept], [number for _, number in kept]
