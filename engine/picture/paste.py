"""Paste-back: a drawn mouth into the anchor's I420 frame, through a feathered mask."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Mask, Picture
from engine.mouth.region import Region
from engine.picture.colour import Box, ColourMatch
from engine.picture.detail import Carried, DetailCarrier
from engine.picture.steady import Steady
from engine.picture.yuv import NEUTRAL, Frame, Levels, Plane, planes, to_levels

_CHANGE = (2.5, 9.0)  # levels at which a change begins to count, and counts fully
_CHANGE_REACH = 9  # pixels over which a change spreads
_VISIBLE = 0.5 / 255
_STRIP = 64  # rows
_NEAR = np.ones((3, 3), np.uint8)

_Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mouth goes: the square, its paste mask float32 (S, S) in [0, 1], what the anchor shows there,
    RGB uint8 (S, S, 3), and the box of its closed lips, shares of the side. S is even.
    """

    crop: Crop
    mask: Mask
    idle: Picture
    lips: Box


class Paster:
    """Puts the mouths of one session back, one after another; knows the last one, so that nothing trembles.

    Same calls, same pictures. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._colour = ColourMatch()
        self._steady = Steady()
        self._detail = DetailCarrier()

    def rest(self) -> None:
        """The mouth is not drawn for now; the next one starts afresh."""
        self._colour.reset()
        self._steady.reset()

    def paste(self, anchor: Frame, patch: Picture, place: Place, strength: float) -> Frame:
        """A copy of the I420 `anchor` with the drawn `patch`, RGB uint8 (S, S, 3), in its place.

        `strength` in [0, 1] scales the mask. Where speech changes nothing the anchor stays as it is; where it
        moves a part of the face, the anchor's own pixels move.
        """
        out = anchor.copy()
        window = _window(place.mask)
        if window is None:
            return out
        mask = place.mask[window.rows, window.columns]
        idle, drawn = (to_levels(picture[window.rows, window.columns]) for picture in (place.idle, patch))
        drawn = self._steady.settle(self._colour.match(drawn, idle, mask), idle, window.rows, window.columns)
        changed = _changed(drawn, idle)
        mask = mask * changed * np.float32(strength)
        to_window = window.matrix(place)
        part = _seen(mask, to_window, anchor)
        if part is not None:
            carried = self._detail.carry(drawn, idle, changed, window.lips(place))
            part.fill(out, anchor, to_window, carried, mask)
        return out


def patch_region(mask: Mask) -> Region:
    """What `Paster.paste` reads of a patch with this paste mask; all of it where the mask is empty."""
    window = _window(mask)
    if window is None:
        return Region.whole(len(mask))
    return Region(window.columns.start, window.rows.start, window.columns.stop, window.rows.stop)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a crop in which there is anything to do, with even corners."""

    rows: slice
    columns: slice

    def matrix(self, place: Place) -> _Matrix:
        """The affine map from a frame's pixel indices to those of the window."""
        matrix = place.crop.matrix(len(place.mask))
        matrix[:, 2] -= self.columns.start, self.rows.start
        return matrix

    def lips(self, place: Place) -> Box:
        """Where the closed lips are, in pixels of the window, of which the first is as wide as 1 / S."""
        left, top, right, bottom = (value * len(place.mask) for value in place.lips)
        x, y = self.columns.start, self.rows.start
        return left - x, top - y, right - x, bottom - y


@dataclass(frozen=True, slots=True)
class _Part:
    """Part of a frame with even corners, so that it covers whole chroma pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def fill(self, out: Frame, anchor: Frame, to_window: _Matrix, carried: Carried, mask: Mask) -> None:
        """Write the carried mouth through the window's mask into this part of `out`, a copy of `anchor`."""
        flow = cv2.transform(carried.flow, cv2.invertAffineTransform(to_window)[:, :2] * 2)
        flow = cv2.resize(flow, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        # A cubic step to twice the size and a linear one from there cost a third of a cubic warp. Both go the
        # same way, so that together they are the anchor wherever nothing changes.
        fields, luma = (
            _plane(cv2.resize(one, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
            for one in (cv2.merge([mask, mask * carried.share, flow]), carried.rest.luma * mask)
        )
        chroma = _plane(carried.rest.chroma * small[..., None])
        self._mix(planes(out)[:1], planes(anchor)[:1], to_window, fields, luma[..., None], 1)
        self._mix(planes(out)[1:], planes(anchor)[1:], to_window, fields, chroma, 2)

    def _mix(
        self,
        targets: Sequence[Frame],
        sources: Sequence[Frame],
        to_window: _Matrix,
        fields: Plane,
        added: Plane,
        step: int,
    ) -> None:
        """Write this part of planes that hold every `step`th pixel of the frame: what the mask leaves of the
        anchor, what is taken of it elsewhere, and the rest.

        Over the window (h, w): `fields` (2h, 2w, 4) mask, how much is taken, from how far right and down in
        pixels of the frame; `added` (any size, planes), masked already.
        """
        left, right = self.left // step, self.right // step
        to_fields = _between(to_window, step, 2.0)
        to_added = _between(to_window, step, 2.0 * len(added) / len(fields))
        across = np.arange(left, right, dtype=np.float32)
        how = cv2.INTER_CUBIC if step == 1 else cv2.INTER_LINEAR
        # In strips, because fresh memory for whole planes costs more than the work on them.
        for top in range(self.top // step, self.bottom // step, _STRIP):
            bottom = min(top + _STRIP, self.bottom // step)
            size, corner = (right - left, bottom - top), (left, top)
            field = _warped(fields, to_fields, corner, size)
            mask, taken = field[..., 0], field[..., 1]
            more = _warped(added, to_added, corner, size).reshape(size[1], size[0], -1)
            x = field[..., 2] / step + across
            y = field[..., 3] / step + np.arange(top, bottom, dtype=np.float32)[:, None]
            grey = (mask - taken) * np.float32(NEUTRAL)
            for number, (target, source) in enumerate(zip(targets, sources, strict=True)):
                moved = cv2.remap(source, x, y, how, borderMode=cv2.BORDER_REPLICATE)
                mixed = source[top:bottom, left:right] * (1 - mask)
                mixed += moved * taken
                mixed += more[..., number]
                mixed += grey
                target[top:bottom, left:right] = cv2.convertScaleAbs(np.maximum(mixed, 0, out=mixed))


def _plane(values: NDArray[Any]) -> Plane:
    return np.asarray(values, np.float32)


def _between(matrix: _Matrix, step: int, scale: float) -> _Matrix:
    """An affine map of pixel indices, from planes of every `step`th pixel to pictures `scale` as large."""
    turn = matrix[:, :2] * scale
    shift = scale * (matrix[:, 2] + 0.5) - 0.5
    return np.column_stack([turn * step, shift + turn.sum(axis=1) * ((step - 1) / 2)])


def _warped(values: Plane, matrix: _Matrix, corner: tuple[int, int], size: tuple[int, int]) -> Plane:
    """Values at each pixel of a box of `size` at `corner` of a plane, from which `matrix` leads to them."""
    shifted = np.column_stack([matrix[:, :2], matrix[:, :2] @ corner + matrix[:, 2]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(values, shifted, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _window(mask: Mask) -> _Window | None:
    """What the mask covers, a few pixels wider; None when it is empty."""
    x, y, width, height = cv2.boundingRect((mask > _VISIBLE).astype(np.uint8))
    if width == 0:
        return None
    columns, rows = (
        slice(max(0, first // 2 * 2 - 2), min(len(mask), (first + count + 1) // 2 * 2 + 2))
        for first, count in ((x, width), (y, height))
    )
    return _Window(rows, columns)


def _seen(mask: Mask, to_window: _Matrix, frame: Frame) -> _Part | None:
    """The part of the frame under the window's mask, widened to even corners and cut at the frame's edge."""
    x, y, width, height = cv2.boundingRect((mask > _VISIBLE).astype(np.uint8))
    if width == 0:
        return None
    # A pixel around, because the mask is interpolated; corners are continuous, the matrix counts centres.
    corners = np.array([(i, j) for i in (x - 1, x + width + 1) for j in (y - 1, y + height + 1)], np.float64)
    to_frame = cv2.invertAffineTransform(to_window)
    corners = (corners - 0.5) @ to_frame[:, :2].T + to_frame[:, 2] + 0.5
    left, top = (max(math.floor(value / 2) * 2, 0) for value in corners.min(axis=0))
    right, bottom = (math.ceil(value / 2) * 2 for value in corners.max(axis=0))
    right, bottom = min(right, frame.shape[1]), min(bottom, frame.shape[0] * 2 // 3)
    return _Part(left, top, right, bottom) if right > left and bottom > top else None


def _changed(drawn: Levels, idle: Levels) -> Mask:
    """(h, w) in [0, 1]: 0 where drawn and idle picture agree, 1 where they clearly differ, soft between."""
    luma = cv2.dilate(cv2.absdiff(drawn.luma, idle.luma), _NEAR)[::2, ::2]
    chroma = cv2.absdiff(drawn.chroma, idle.chroma)
    difference = cv2.dilate(np.maximum(luma, np.maximum(chroma[..., 0], chroma[..., 1])), _NEAR)
    reach = _CHANGE_REACH // 2 | 1
    low, high = _CHANGE
    changed = np.clip((cv2.blur(difference, (reach, reach)) - low) / (high - low), 0, 1)
    return np.asarray(cv2.resize(changed, drawn.luma.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
