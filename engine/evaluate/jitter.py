"""Jitter: how much the mouth's square trembles, and how far it stays behind the face."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop

_REACH = 3
"""Pictures on each side that a head's own way is read from: 0.28 s. A parabola through them follows motion up
to about 4 Hz; heads do not move faster by more than trackers err."""

Corners = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Jitter:
    """In pixels of the frame, root mean square over the square's corners and all pictures.

    `tremble`: distance from the corners' own smooth way. `lag`: distance of that way from the face's, which a
    square that is smoothed too much does not follow; NaN where the face's way is not known.
    """

    tremble: float
    lag: float

    @property
    def pixels(self) -> float:
        """Both together; the tremble alone where the lag is not known."""
        return self.tremble if math.isnan(self.lag) else math.hypot(self.tremble, self.lag)


def crop_jitter(crops: Sequence[Crop], face: Sequence[Crop] = ()) -> Jitter:
    """The jitter of `crops` of pictures in time order; `face` are the squares of the face in each picture by
    itself, not smoothed. Raises ValueError for fewer than seven pictures or lengths that differ.
    """
    if len(crops) < 2 * _REACH + 1:
        raise ValueError(f"jitter needs at least {2 * _REACH + 1} pictures, got {len(crops)}")
    if face and len(face) != len(crops):
        raise ValueError(f"{len(crops)} crops for {len(face)} faces")
    places = np.stack([corners(crop) for crop in crops])
    way = _way(places)
    lag = _rms(way - _way(np.stack([corners(crop) for crop in face]))) if face else math.nan
    return Jitter(_rms(places[_REACH:-_REACH] - way), lag)


def corners(crop: Crop) -> Corners:
    """(4, 2): the corners of a square in pixels of its frame, clockwise."""
    cos, sin = math.cos(crop.angle) * crop.size / 2, math.sin(crop.angle) * crop.size / 2
    across, down = np.array([cos, sin]), np.array([-sin, cos])
    centre = np.array([crop.cx, crop.cy])
    return np.stack([centre + x * across + y * down for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def _way(places: Corners) -> Corners:
    """(n - 2 * _REACH, 4, 2): the middle of the parabola (least squares) through a picture's neighbours."""
    steps = np.arange(-_REACH, _REACH + 1)
    weights = np.linalg.pinv(np.stack([np.ones_like(steps), steps, steps**2], axis=1))[0]
    windows = np.lib.stride_tricks.sliding_window_view(places, len(steps), axis=0)
    return np.asarray(windows @ weights, np.float64)


def _rms(offsets: Corners) -> float:
    return float(np.sqrt(np.mean(np.sum(offsets**2, axis=-1))))
