"""Where a mouth goes in one anchor frame, and all that the frame alone tells of it: computed once, used by
every tick that shows the frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Mask, Picture
from engine.picture.colour import Box, Ring
from engine.picture.yuv import Levels, Plane, planes, to_i420

VISIBLE = 0.5 / 255
"""What a mask must have of a pixel to show."""

Matrix = NDArray[np.float64]
"""(2, 3): an affine map of pixel indices."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a crop in which there is anything to do, with even corners."""

    rows: slice
    columns: slice


@dataclass(frozen=True, slots=True)
class Ways:
    """From pixels of the frame to those of a window, and back."""

    to_window: Matrix
    to_frame: Matrix


class Place:
    """The square of one anchor frame in which a mouth is pasted. Nothing of it changes: sessions share it.

    Of its planes, only what the mask covers is kept, in bytes.
    """

    def __init__(self, crop: Crop, mask: Mask, idle: Picture, lips: Box) -> None:
        """`mask`: the paste mask, float32 (S, S) in [0, 1]; `idle`: what the anchor shows there, RGB uint8
        (S, S, 3), kept by reference; `lips`: the box of its closed lips, shares of the side. S is even.
        """
        self.idle = idle
        self.window = find_window(mask)
        """None where the mask is empty."""
        self.ring: Ring | None = None
        if self.window is None:
            return
        rows, columns = self.window.rows, self.window.columns
        x, y, size = columns.start, rows.start, len(mask)
        left, top, right, bottom = (value * size for value in lips)
        self._lips: Box = (left - x, top - y, right - x, bottom - y)
        self.to_window: Matrix = crop.matrix(size)
        """From pixels of the frame to those of the window."""
        self.to_window[:, 2] -= x, y
        self.to_frame: Matrix = np.asarray(cv2.invertAffineTransform(self.to_window), np.float64)
        self._mask = np.rint(mask[rows, columns] * 255).astype(np.uint8)
        luma, *chroma = planes(to_i420(np.ascontiguousarray(idle[rows, columns])))
        self._luma, self._chroma = luma.copy(), np.asarray(cv2.merge(chroma), np.uint8)
        self.ring = Ring.of(self.levels(), self.mask())

    @property
    def nbytes(self) -> int:
        """Memory that it takes besides the idle picture."""
        if self.window is None:
            return 0
        own = self._mask.nbytes + self._luma.nbytes + self._chroma.nbytes
        return own + (self.ring.nbytes if self.ring else 0)

    def lips_from(self, x: int, y: int) -> Box:
        """The box of the closed lips in pixels, counted from pixel (x, y) of the window."""
        left, top, right, bottom = self._lips
        return left - x, top - y, right - x, bottom - y

    def shifted(self, x: int, y: int) -> Ways:
        """To and from the part of the window that begins at its pixel (x, y)."""
        to_window, to_frame = self.to_window.copy(), self.to_frame.copy()
        to_window[:, 2] -= x, y
        to_frame[:, 2] += to_frame[:, :2] @ (x, y)
        return Ways(to_window, to_frame)

    def mask(self) -> Mask:
        """The window's mask, float32 (h, w) in [0, 1]; the caller's own."""
        return np.multiply(self._mask, np.float32(1 / 255), dtype=np.float32)

    def levels(self) -> Levels:
        """What the anchor shows in the window; the caller's own."""
        return Levels(self._luma.astype(np.float32), self._chroma.astype(np.float32))


def find_window(mask: Mask) -> Window | None:
    """What the mask covers, a few pixels wider; None when it is empty."""
    x, y, width, height = covered(mask)
    if width == 0:
        return None
    columns, rows = (
        slice(max(0, first // 2 * 2 - 2), min(len(mask), (first + count + 1) // 2 * 2 + 2))
        for first, count in ((x, width), (y, height))
    )
    return Window(rows, columns)


def covered(mask: Plane, least: float = VISIBLE) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the box around what is more than `least`; zeros when nothing is."""
    x, y, width, height = cv2.boundingRect((mask > least).astype(np.uint8))
    return x, y, width, height
