"""Flicker: how much a video trembles from picture to picture beyond smooth motion."""

from collections import deque

import numpy as np

from engine.evaluate.pixels import Series


class FlickerMeter:
    """Mean absolute second difference over time, |I(t-1) - 2 I(t) + I(t+1)|, of pictures cut alike.

    It is zero for a still picture and for a steady change of brightness, small for smooth motion, and four
    times the amplitude for brightness that alternates from one picture to the next.
    """

    def __init__(self) -> None:
        self._last: deque[Series] = deque(maxlen=3)
        self._sum = 0.0
        self._count = 0

    def add(self, luma: Series) -> None:
        """The next picture's luminance; all of one size."""
        self._last.append(luma)
        if len(self._last) == 3:
            before, now, after = self._last
            self._sum += float(np.mean(np.abs(before - 2 * now + after)))
            self._count += 1

    def restart(self) -> None:
        """What comes next does not follow on what came last."""
        self._last.clear()

    @property
    def levels(self) -> float:
        """The mean so far in levels of 255; NaN before the third picture."""
        return self._sum / self._count if self._count else float("nan")
