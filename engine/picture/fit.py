"""A presenter in pictures of another size: scaled, whole and centred, its colours carried out to the rest."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop
from engine.picture.yuv import Frame, planes

Size = tuple[int, int]
Plane = NDArray[np.uint8]

_DEPTH = 0.015
"""How much of the picture, from its edge inwards, gives the rest its colour."""

_SOFT = 0.08
"""Gaussian sigma along the edge, share of its length."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A rectangle with even corners and sides, so that it covers whole chroma pixels."""

    left: int
    top: int
    width: int
    height: int

    def area(self, divisor: int) -> tuple[slice, slice]:
        left, top, width, height = (
            value // divisor for value in (self.left, self.top, self.width, self.height)
        )
        return slice(top, top + height), slice(left, left + width)


class Fit:
    """How pictures of `size` lie in a `canvas`; both (width, height), even."""

    def __init__(self, size: Size, canvas: Size) -> None:
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        width, height = (
            min(most, max(2, 2 * round(side * scale / 2))) for side, most in zip(size, canvas, strict=True)
        )
        self.canvas = canvas
        self._place = _Place((canvas[0] - width) // 4 * 2, (canvas[1] - height) // 4 * 2, width, height)
        # Sides are rounded to even numbers, so the two scales may differ by a pixel in all.
        self._scale = width / size[0], height / size[1]
        self._by = cv2.INTER_AREA if max(self._scale) < 1 else cv2.INTER_CUBIC

    def backdrop(self, picture: Frame) -> Frame:
        """The canvas without the presenter: the edges of an I420 `picture` carried outwards, softly.

        Made once, of one picture: what stands still beside a presenter does not draw the eye, and costs an
        encoder nothing.
        """
        out = np.empty((self.canvas[1] * 3 // 2, self.canvas[0]), np.uint8)
        for number, (target, source) in enumerate(zip(planes(out), planes(picture), strict=True)):
            rows, columns = self._place.area(2 if number else 1)
            target[rows, columns] = self._resize(source, target[rows, columns].shape)
            _carry_out(target[rows], columns)
            _carry_out(target.T, rows)
        return out

    def frame(self, picture: Frame, backdrop: Frame) -> Frame:
        """An I420 `picture` on a copy of the `backdrop`."""
        out = backdrop.copy()
        for number, (target, source) in enumerate(zip(planes(out), planes(picture), strict=True)):
            area = self._place.area(2 if number else 1)
            target[area] = self._resize(source, target[area].shape)
        return out

    def plane(self, plane: Plane) -> Plane:
        """A matte (h, w) in the canvas; around it there is no presenter, 0."""
        out = np.zeros((self.canvas[1], self.canvas[0]), np.uint8)
        area = self._place.area(1)
        out[area] = self._resize(plane, out[area].shape)
        return out

    def crop(self, crop: Crop) -> Crop:
        """Where a crop of the picture lies in the canvas."""
        across, down = self._scale
        return replace(
            crop,
            cx=self._place.left + crop.cx * across,
            cy=self._place.top + crop.cy * down,
            size=crop.size * (across + down) / 2,
        )

    def _resize(self, plane: Plane, shape: tuple[int, ...]) -> Plane:
        if plane.shape == shape:
            return plane
        return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=self._by), np.uint8)


def _carry_out(plane: Plane, filled: slice) -> None:
    """Fill the columns of a plane before and after the `filled` ones with the colours at their edges."""
    depth = max(1, round(_DEPTH * (filled.stop - filled.start)))
    for bare, edge in (
        (slice(0, filled.start), slice(filled.start, filled.start + depth)),
        (slice(filled.stop, plane.shape[1]), slice(filled.stop - depth, filled.stop)),
    ):
        line = plane[:, edge].mean(axis=1, dtype=np.float32, keepdims=True)
        soft = cv2.GaussianBlur(line, (1, 0), 0, sigmaY=_SOFT * len(line), borderType=cv2.BORDER_REPLICATE)
        plane[:, bare] = np.rint(soft)
