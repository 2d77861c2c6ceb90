"""The colour of a drawn mouth: that of the skin around it, steady from picture to picture."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Mask
from engine.picture.yuv import NEUTRAL, Levels, Plane, floats

_RING = (0.05, 0.95)  # mask values between which, on the cheeks, mouth and anchor should agree in colour
_MAX_SHIFT = 16.0  # levels
_MAX_TILT = 8.0  # levels by which the shift may differ from the crop's middle to its left and right edges
_SAMPLES = 192  # pixels of the ring that are looked at
_TRIM = 6.0  # levels from the median beyond which a pixel of the ring shows something else
_FOLLOW = 0.3  # share of a small change of the shift that a tick takes over
_SUDDEN = (2.0, 6.0)  # levels from which a change counts as new light, and is followed at once
_REACH = 4  # pixels of chroma around one whose colours it may have
_AROUND = np.ones((2 * _REACH + 1,) * 2, np.uint8)
_FREE = 2.0  # levels beyond them
_RED = 10.0  # levels by which the inside of a mouth may be redder than the lips
_LEAN = 0.4  # levels of V for each that U lies below grey, at the least
_LIPS_SIDE, _LIPS_UP, _LIPS_DOWN = (
    0.15,
    0.1,
    0.4,
)  # where open lips may be around closed ones, in their widths

Box = tuple[float, float, float, float]
"""(left, top, right, bottom)."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Pixels on the cheeks where the mask fades, which speech hardly moves: there mouth and anchor should
    agree in colour.

    `luma`, `chroma`: their numbers in the planes of the window; `across` in [-1, 1] from left to right;
    `idle` float32 (n, 3): what the anchor shows there.
    """

    luma: NDArray[np.intp]
    chroma: NDArray[np.intp]
    across: NDArray[np.float32]
    idle: NDArray[np.float32]

    @classmethod
    def of(cls, idle: Levels, mask: Mask) -> Self | None:
        """The ring of a window's mask; None where it fades nowhere on the cheeks."""
        half = mask[::2, ::2]
        rows = np.flatnonzero(half.max(axis=1) > _RING[0])
        upper = slice(0, (rows[0] + rows[-1] + 1) // 2 if rows.size else 0)
        row, column = np.nonzero((half[upper] > _RING[0]) & (half[upper] < _RING[1]))
        if row.size == 0:
            return None
        thinned = slice(None, None, 1 + row.size // _SAMPLES)
        row, column = row[thinned], column[thinned]
        chroma, luma = row * half.shape[1] + column, 2 * row * mask.shape[1] + 2 * column
        return cls(luma, chroma, _across(half.shape[1])[column], _at(idle, luma, chroma))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.luma.nbytes + self.chroma.nbytes + self.across.nbytes + self.idle.nbytes

    def apart(self, drawn: Levels) -> NDArray[np.float32]:
        """(n, 3): by how much the anchor is brighter, bluer and redder than the drawn picture."""
        return self.idle - _at(drawn, self.luma, self.chroma)


class ColourMatch:
    """Shifts drawn mouths of one session to the colours of their idle pictures.

    The shift is measured where the mask fades on the cheeks: a constant and a tilt from left to right for
    each of Y, U and V. Small changes of it are damped, sudden ones followed.
    """

    def __init__(self) -> None:
        self._shift: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Forget what was measured."""
        self._shift = None

    def match(self, drawn: Levels, ring: Ring | None) -> Levels:
        """The drawn picture in the light of the idle one, as the `ring` of its mask shows that."""
        if ring is None:
            return drawn
        shift = _measure(ring.apart(drawn), ring.across)
        if self._shift is not None:
            change = float(np.abs(shift - self._shift).max())
            low, high = _SUDDEN
            follow = _FOLLOW + (1 - _FOLLOW) * min(max((change - low) / (high - low), 0.0), 1.0)
            shift = self._shift + np.float32(follow) * (shift - self._shift)
        self._shift = shift
        constant, tilt = shift
        luma = drawn.luma + (constant[0] + tilt[0] * _across(drawn.luma.shape[1]))
        across = (constant[1:] + tilt[1:] * _across(drawn.chroma.shape[1])[:, None]).reshape(-1)
        # Rows of U and V in turn: numpy adds long rows faster than pairs.
        chroma = drawn.chroma.reshape(len(drawn.chroma), -1) + across
        return Levels(luma, chroma.reshape(drawn.chroma.shape))


def bound_chroma(drawn: Plane, moved: Plane, lips: Box) -> Plane:
    """The drawn chroma (h, w, 2) without colours that no face takes on by speaking.

    A pixel has colours that the anchor, `moved` as the face moved, shows around it; around the `lips`, closed
    ones in pixels of luma, also those between them and grey, as teeth and the dark have, and redder ones.
    """
    low, high = floats(cv2.erode(moved, _AROUND)), floats(cv2.dilate(moved, _AROUND))
    low -= _FREE
    high += _FREE
    rows, columns = _open(lips)
    mouth_low, mouth_high = low[rows, columns], high[rows, columns]
    np.minimum(mouth_low, NEUTRAL, out=mouth_low)
    np.maximum(mouth_high[..., 0], NEUTRAL, out=mouth_high[..., 0])
    np.maximum(mouth_high[..., 1] + _RED, NEUTRAL, out=mouth_high[..., 1])
    bound = floats(cv2.min(cv2.max(drawn, low), high))
    inside = bound[rows, columns]
    # The yellow of teeth leans to red as that of skin does; with too little red it is green.
    leaning = np.minimum(mouth_high[..., 1], NEUTRAL + _LEAN * (NEUTRAL - inside[..., 0]))
    np.maximum(inside[..., 1], leaning, out=inside[..., 1])
    return bound


def _open(lips: Box) -> tuple[slice, slice]:
    """Where open lips may be, in pixels of chroma, from where they are when closed, in pixels of luma."""
    left, top, right, bottom = (value / 2 for value in lips)
    width = right - left
    rows = slice(max(0, round(top - _LIPS_UP * width)), max(0, round(bottom + _LIPS_DOWN * width)))
    return rows, slice(max(0, round(left - _LIPS_SIDE * width)), max(0, round(right + _LIPS_SIDE * width)))


def _measure(apart: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, 3): constant and tilt of the shift, from the differences (n, 3) at `x` in [-1, 1]."""
    median = np.partition(apart, len(apart) // 2, axis=0)[len(apart) // 2]
    fits = (np.abs(apart - median) <= _TRIM).all(axis=1)
    count = np.count_nonzero(fits)
    if count * 4 < fits.size:
        return np.stack([_bounded(median, _MAX_SHIFT), np.zeros(3, np.float32)])
    x, apart = x[fits], apart[fits]
    mean_x, mean = x.sum() / count, apart.sum(axis=0) / count
    x = x - mean_x
    tilt = _bounded((x @ (apart - mean)) / max(float(x @ x), 1e-3), _MAX_TILT)
    return np.stack([_bounded(mean - tilt * mean_x, _MAX_SHIFT), tilt])


def _bounded(values: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    return np.asarray(np.minimum(np.maximum(values, -most), most), np.float32)


def _at(levels: Levels, luma: NDArray[np.intp], chroma: NDArray[np.intp]) -> NDArray[np.float32]:
    """(n, 3): Y, U and V at pixels by their numbers."""
    values = np.empty((luma.size, 3), np.float32)
    values[:, 0] = levels.luma.reshape(-1)[luma]
    values[:, 1:] = levels.chroma.reshape(-1, 2)[chroma]
    return values


@lru_cache(maxsize=64)
def _across(size: int) -> NDArray[np.float32]:
    """(size,): -1 at the left edge, 1 at the right one; shared, so read-only."""
    across = np.linspace(-1, 1, size, dtype=np.float32)
    across.flags.writeable = False
    return across
