"""Paste-back: a drawn mouth into the anchor's I420 frame, through a feathered mask.

All work is done in the window of the mask, at the mouth's resolution; the frame itself is touched only where
speech changes something.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import Mask, Picture
from engine.mouth.region import Region
from engine.picture.colour import ColourMatch
from engine.picture.detail import Carried, DetailCarrier
from engine.picture.place import Matrix, Place, Ways, covered, find_window
from engine.picture.steady import Steady
from engine.picture.yuv import NEUTRAL, Frame, Levels, Plane, floats, planes, ramp, to_levels

_CHANGE = (2.5, 9.0)  # levels at which a change begins to count, and counts fully
_CHANGE_REACH = 5  # pixels of chroma over which a change spreads
_INSIDE = 0.02  # of the mask that the anchor does not fill: from here on, what is drawn shows as such
_BESIDE = 4  # pixels that a cubic step and a warp look at besides
_MARGIN, _STEP = 8, 16  # pixels around what changes that are looked at, and in whose steps
_NEAR = np.ones((3, 3), np.uint8)


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
        moves a part of the face, the anchor's own pixels move. The copy is the caller's alone.
        """
        out = anchor.copy()
        window = place.window
        if window is None:
            return out
        idle = place.levels()
        drawn = self._colour.match(to_levels(patch[window.rows, window.columns]), place.ring)
        drawn = self._steady.settle(drawn, idle, window.rows, window.columns)
        changed = _changed(drawn, idle)
        mask = place.mask()
        mask *= changed
        mask *= np.float32(strength)
        box = covered(mask)
        part = _Part.under(box, place.to_frame, anchor)
        if part is not None:
            rows, columns = _around(box, mask.shape)
            carried = self._detail.carry(
                _cut(drawn, rows, columns),
                _cut(idle, rows, columns),
                changed[rows, columns],
                place.lips_from(columns.start, rows.start),
            )
            _fill(out, anchor, part, place.shifted(columns.start, rows.start), carried, mask[rows, columns])
        return out


def patch_region(mask: Mask) -> Region:
    """What `Paster.paste` reads of a patch with this paste mask; all of it where the mask is empty."""
    window = find_window(mask)
    if window is None:
        return Region.whole(len(mask))
    return Region(window.columns.start, window.rows.start, window.columns.stop, window.rows.stop)


@dataclass(frozen=True, slots=True)
class _Part:
    """Part of a plane."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def under(cls, box: tuple[int, int, int, int], to_frame: Matrix, frame: Frame) -> "_Part | None":
        """The part of the frame's luma under a box (left, top, width, height), from whose pixels `to_frame`
        leads to the frame's: widened to even corners, so that it covers whole chroma pixels, and cut at the
        frame's edge. None where that is empty.
        """
        x, y, width, height = box
        if width == 0:
            return None
        # A pixel around, because masks are interpolated; corners are continuous, the matrix counts centres.
        corners = np.array(
            [(i, j) for i in (x - 1, x + width + 1) for j in (y - 1, y + height + 1)], np.float64
        )
        corners = (corners - 0.5) @ to_frame[:, :2].T + to_frame[:, 2] + 0.5
        left, top = (max(math.floor(value / 2) * 2, 0) for value in corners.min(axis=0))
        right, bottom = (math.ceil(value / 2) * 2 for value in corners.max(axis=0))
        right, bottom = min(right, frame.shape[1]), min(bottom, frame.shape[0] * 2 // 3)
        return cls(left, top, right, bottom) if right > left and bottom > top else None

    @property
    def half(self) -> "_Part":
        """The same of a chroma plane."""
        return _Part(self.left // 2, self.top // 2, self.right // 2, self.bottom // 2)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.right - self.left, self.bottom - self.top

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: "_Part") -> tuple[slice, slice]:
        """Rows and columns of what both have in common, counted in the outer one."""
        rows = slice(max(self.top - outer.top, 0), self.bottom - outer.top)
        return rows, slice(max(self.left - outer.left, 0), self.right - outer.left)

    def warped(self, values: Plane, matrix: Matrix) -> Plane:
        """Values (h, w, ...) for each pixel of this part; `matrix` leads from its pixels to theirs."""
        shifted = matrix.copy()
        shifted[:, 2] += matrix[:, :2] @ (self.left, self.top)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(values, shifted, self.size, flags=how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.float32)


def _fill(out: Frame, anchor: Frame, part: _Part, ways: Ways, carried: Carried, mask: Mask) -> None:
    """Write the carried mouth through its mask into a part of `out`, a copy of `anchor`."""
    # Pictures of four planes are warped faster than those of three.
    values = np.empty((*mask.shape, 4), np.float32)
    values[..., 0] = mask
    taken = mask * carried.share
    values[..., 1] = taken
    rest = carried.rest.luma * mask
    values[..., 2:] = rest[..., None]
    fields = part.warped(values, ways.to_window)
    _sharpen(fields[..., 2], part, rest, covered(mask - taken, _INSIDE), ways, anchor)
    x, y = _fill_chroma(out, anchor, part.half, ways, carried, mask, taken)
    right, down = (2 * floats(cv2.resize(one, part.size, interpolation=cv2.INTER_LINEAR)) for one in (x, y))
    source, target = planes(anchor)[0], planes(out)[0]
    moved = cv2.remap(source, *_pointing(right, down, part), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    _mix(target, source, part, moved, fields)


def _fill_chroma(
    out: Frame, anchor: Frame, part: _Part, ways: Ways, carried: Carried, mask: Mask, taken: Mask
) -> tuple[Plane, Plane]:
    """The same for the two planes of chroma; returns how far right and down in their pixels each of them is
    taken from.
    """
    to_half = _between(ways.to_window, 2, 0.5)
    small, small_taken = (
        cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in (mask, taken)
    )
    flow = cv2.transform(carried.flow, ways.to_frame[:, :2])
    rest = carried.rest.chroma * cv2.merge((small, small))
    fields = part.warped(_merged(small, small_taken, flow), to_half)
    more = part.warped(_merged(rest, rest), to_half)
    x, y = (np.ascontiguousarray(fields[..., axis]) for axis in (2, 3))
    where = _pointing(x.copy(), y.copy(), part)
    for number, (target, source) in enumerate(zip(planes(out)[1:], planes(anchor)[1:], strict=True)):
        moved = cv2.remap(source, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        fields[..., 2] = more[..., number]
        _mix(target, source, part, moved, fields)
    return x, y


def _mix(target: Frame, source: Frame, part: _Part, moved: cv2.typing.MatLike, fields: Plane) -> None:
    """Write what the mask leaves of the source, what is taken of the `moved` one, and the rest: the first
    three planes of `fields`. Around grey, so that where these are zero nothing changes.
    """
    here = source[part.area]
    change = np.subtract(moved, np.float32(NEUTRAL), dtype=np.float32)
    change *= fields[..., 1]
    change += fields[..., 2]
    left_out = np.subtract(here, np.float32(NEUTRAL), dtype=np.float32)
    left_out *= fields[..., 0]
    change -= left_out
    target[part.area] = cv2.add(here, change, dtype=cv2.CV_8U)


def _sharpen(
    into: Plane, part: _Part, rest: Plane, box: tuple[int, int, int, int], ways: Ways, frame: Frame
) -> None:
    """Write the rest of the luma, where a box of it holds what the anchor does not show, as sharp as it is
    drawn; `into` is that of the part.

    A cubic step to twice the size and a linear one from there cost less than a cubic warp.
    """
    inner = _Part.under(box, ways.to_frame, frame)
    if inner is None:
        return
    x, y = max(0, box[0] - _BESIDE), max(0, box[1] - _BESIDE)
    cut = rest[y : box[1] + box[3] + _BESIDE, x : box[0] + box[2] + _BESIDE]
    double = cv2.resize(cut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    to_cut = ways.to_window.copy()
    to_cut[:, 2] -= x, y
    into[inner.within(part)] = inner.warped(np.asarray(double, np.float32), _between(to_cut, 1, 2))


def _pointing(right: Plane, down: Plane, part: _Part) -> tuple[Plane, Plane]:
    """Columns and rows for cv2.remap, from how far beside each pixel of the part; in their memory."""
    right += np.arange(part.left, part.right, dtype=np.float32)
    down += np.arange(part.top, part.bottom, dtype=np.float32)[:, None]
    return right, down


def _around(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a box with what is beside it, in steps, so that it changes seldom."""
    left, top, width, height = box
    rows, columns = (
        slice(max(0, (first - _MARGIN) // _STEP * _STEP), min(size, -(-(last + _MARGIN) // _STEP) * _STEP))
        for first, last, size in ((top, top + height, shape[0]), (left, left + width, shape[1]))
    )
    return rows, columns


def _cut(levels: Levels, rows: slice, columns: slice) -> Levels:
    """A part with even corners."""
    half_rows, half_columns = (slice(part.start // 2, part.stop // 2) for part in (rows, columns))
    return Levels(levels.luma[rows, columns], levels.chroma[half_rows, half_columns])


def _merged(*values: cv2.typing.MatLike) -> Plane:
    return np.asarray(cv2.merge(values), np.float32)


def _between(matrix: Matrix, step: int, scale: float) -> Matrix:
    """An affine map of pixel indices, from planes of every `step`th pixel to pictures `scale` as large."""
    turn = matrix[:, :2] * scale
    shift = scale * (matrix[:, 2] + 0.5) - 0.5
    return np.column_stack([turn * step, shift + turn.sum(axis=1) * ((step - 1) / 2)])


def _changed(drawn: Levels, idle: Levels) -> Mask:
    """(h, w) in [0, 1]: 0 where drawn and idle picture agree, 1 where they clearly differ, soft between."""
    luma = cv2.dilate(cv2.absdiff(drawn.luma, idle.luma), _NEAR)[::2, ::2]
    chroma = cv2.absdiff(drawn.chroma, idle.chroma)
    difference = cv2.dilate(np.maximum(luma, np.maximum(chroma[..., 0], chroma[..., 1])), _NEAR)
    changed = cv2.blur(difference, (_CHANGE_REACH, _CHANGE_REACH))
    size = drawn.luma.shape[::-1]
    return floats(cv2.resize(ramp(changed, *_CHANGE), size, interpolation=cv2.INTER_LINEAR))
