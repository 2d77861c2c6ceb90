"""The colour of a drawn mouth: that of the skin around it, steady from picture to picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Mask
from engine.picture.yuv import NEUTRAL, Levels, Plane

_RING = (0.05, 0.95)  # mask values between which, on the cheeks, mouth and anchor should agree in colour
_MAX_SHIFT = 16.0  # levels
_MAX_TILT = 8.0  # levels by which the shift may differ from the crop's middle to its left and right edges
_SAMPLES = 256  # pixels of the ring that are looked at
_TRIM = 6.0  # levels from the median beyond which a pixel of the ring shows something else
_FOLLOW = 0.3  # share of a small change of the shift that a tick takes over
_SUDDEN = (2.0, 6.0)  # levels from which a change counts as new light, and is followed at once
_REACH = 4  # pixels of chroma around one whose colours it may have
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


class ColourMatch:
    """Shifts drawn mouths of one session to the colours of their idle pictures.

    The shift is measured where the mask fades on the cheeks, which speech hardly moves: a constant and a tilt
    from left to right for each of Y, U and V. Small changes of it are damped, sudden ones followed.
    """

    def __init__(self) -> None:
        self._shift: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Forget what was measured."""
        self._shift = None

    def match(self, drawn: Levels, idle: Levels, mask: Mask) -> Levels:
        """The drawn picture in the light of the idle one; `mask` is its paste mask."""
        shift = _measure(drawn, idle, mask)
        if shift is None:
            return drawn
        if self._shift is not None:
            change = float(np.abs(shift - self._shift).max())
            low, high = _SUDDEN
            follow = _FOLLOW + (1 - _FOLLOW) * min(max((change - low) / (high - low), 0.0), 1.0)
            shift = self._shift + np.float32(follow) * (shift - self._shift)
        self._shift = shift
        constant, tilt = shift
        luma = drawn.luma + (constant[0] + tilt[0] * _across(drawn.luma.shape[1]))
        chroma = drawn.chroma + (constant[1:] + tilt[1:] * _across(drawn.chroma.shape[1])[:, None])
        return Levels(luma, chroma)


def bound_chroma(drawn: Plane, moved: Plane, lips: Box) -> Plane:
    """The drawn chroma (h, w, 2) without colours that no face takes on by speaking.

    A pixel has colours that the anchor, `moved` as the face moved, shows around it; around the `lips`, closed
    ones in pixels of luma, also those between them and grey, as teeth and the dark have, and redder ones.
    """
    around = np.ones((2 * _REACH + 1,) * 2, np.uint8)
    low, high = cv2.erode(moved, around) - _FREE, cv2.dilate(moved, around) + _FREE
    rows, columns = _open(lips)
    mouth_low, mouth_high = low[rows, columns], high[rows, columns]
    np.minimum(mouth_low, NEUTRAL, out=mouth_low)
    np.maximum(mouth_high[..., 0], NEUTRAL, out=mouth_high[..., 0])
    np.maximum(mouth_high[..., 1] + _RED, NEUTRAL, out=mouth_high[..., 1])
    bound = np.clip(drawn, low, high)
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


def _measure(drawn: Levels, idle: Levels, mask: Mask) -> NDArray[np.float32] | None:
    """(2, 3): constant and tilt of the shift; None where the mask fades nowhere on the cheeks."""
    half = mask[::2, ::2]
    rows = np.flatnonzero(half.max(axis=1) > _RING[0])
    upper = slice(0, (rows[0] + rows[-1] + 1) // 2 if rows.size else 0)
    ring = np.nonzero((half[upper] > _RING[0]) & (half[upper] < _RING[1]))
    if ring[0].size == 0:
        return None
    thinned = slice(None, None, 1 + ring[0].size // _SAMPLES)
    ring = ring[0][thinned], ring[1][thinned]
    luma = idle.luma[::2, ::2][ring] - drawn.luma[::2, ::2][ring]
    apart = np.column_stack([luma, idle.chroma[ring] - drawn.chroma[ring]])
    x = _across(half.shape[1])[ring[1]]
    median = np.sort(apart, axis=0)[len(apart) // 2]
    fits = np.abs(apart - median).max(axis=1) <= _TRIM
    if np.count_nonzero(fits) * 4 < fits.size:
        return np.stack([np.clip(median, -_MAX_SHIFT, _MAX_SHIFT), np.zeros(3)]).astype(np.float32)
    x, apart = x[fits], apart[fits]
    mean_x, mean = x.mean(), apart.mean(axis=0)
    tilt = (x - mean_x) @ (apart - mean) / max(float(np.sum((x - mean_x) ** 2)), 1e-3)
    tilt = np.clip(tilt, -_MAX_TILT, _MAX_TILT)
    constant = np.clip(mean - tilt * mean_x, -_MAX_SHIFT, _MAX_SHIFT)
    return np.stack([constant, tilt]).astype(np.float32)


def _across(size: int) -> NDArray[np.float32]:
    """(size,): -1 at the left edge, 1 at the right one."""
    return np.linspace(-1, 1, size, dtype=np.float32)
