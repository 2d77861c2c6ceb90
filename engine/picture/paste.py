"""Paste-back: a drawn mouth into the anchor's I420 frame, through a feathered mask."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import Crop, Mask, Picture
from engine.picture.yuv import Frame, planes, to_i420

_RING = (0.05, 0.95)  # mask values between which, on the cheeks, mouth and anchor should agree in colour
_MAX_SHIFT = 16.0
_SHARPEN = 0.6  # more would gain sharpness at the price of likeness
_SHARPEN_SIGMA = 1.2  # pixels of the patch
_CHANGE = (3.0, 12.0)  # levels of 255 at which a change begins to count, and counts fully
_CHANGE_REACH = 0.05  # share of the side over which a change spreads


@dataclass(frozen=True, slots=True)
class _Box:
    """Part of a frame with even corners, so that it covers whole chroma pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def half(self) -> tuple[slice, slice]:
        return slice(self.top // 2, self.bottom // 2), slice(self.left // 2, self.right // 2)

    def full(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Paster:
    """Puts patches of one avatar back; `mask` is its float32 (S, S) paste mask in crop coordinates."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        rows, columns = np.nonzero(mask > 0.5 / 255)
        if rows.size == 0:
            raise ValueError("the paste mask is empty")
        self._corners = np.array(
            [(x, y) for x in (columns.min(), columns.max() + 1) for y in (rows.min(), rows.max() + 1)],
            np.float64,
        )
        ring = (mask > _RING[0]) & (mask < _RING[1])
        ring[rows.min() + (rows.max() - rows.min()) // 2 :] = False
        self._ring = ring.astype(np.uint8)

    def paste(
        self, frame: Frame, patch: Picture, crop: Crop, strength: float, idle: Picture | None = None
    ) -> Frame:
        """A copy of the I420 `frame` with the RGB `patch` (S, S, 3) in the place of `crop`.

        `strength` in [0, 1] scales the mask. With `idle`, the crop's own picture, the patch's colour is first
        shifted so that both agree where the mask fades, and where speech changes nothing the anchor stays as
        it is, at its own resolution.
        """
        out = frame.copy()
        box = self._box(frame, crop)
        if box.right <= box.left or box.bottom <= box.top:
            return out
        mask = self._mask
        if idle is not None:
            patch = self._match(patch, idle)
            mask = mask * _changed(patch, idle)
        patch = _sharpened(patch)
        warp = self._warp(crop, box)
        size = (box.right - box.left, box.bottom - box.top)
        drawn = cv2.warpAffine(
            patch, warp, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        warped = cv2.warpAffine(mask, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        share: Mask = np.multiply(warped, strength, dtype=np.float32)
        half = _half(share)
        luma, *chroma = planes(to_i420(np.asarray(drawn, np.uint8)))
        out_luma, *out_chroma = planes(out)
        _blend(out_luma[box.full()], luma, share)
        for target, source in zip(out_chroma, chroma, strict=True):
            _blend(target[box.half()], source, half)
        return out

    def _box(self, frame: Frame, crop: Crop) -> _Box:
        """The part of the frame under the mask, widened to even corners and cut at the frame's edge."""
        to_frame = cv2.invertAffineTransform(crop.matrix(self._mask.shape[0]))
        # Corners are continuous; the matrix counts pixel centres.
        corners = (self._corners - 0.5) @ to_frame[:, :2].T + to_frame[:, 2] + 0.5
        height, width = frame.shape[0] * 2 // 3, frame.shape[1]
        left, top = (math.floor(value / 2) * 2 for value in corners.min(axis=0))
        right, bottom = (math.ceil(value / 2) * 2 for value in corners.max(axis=0))
        return _Box(max(left, 0), max(top, 0), min(right, width), min(bottom, height))

    def _warp(self, crop: Crop, box: _Box) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """From pixel indices of the box to those of the crop."""
        matrix = crop.matrix(self._mask.shape[0])
        matrix[:, 2] += matrix[:, :2] @ np.array([box.left, box.top], np.float64)
        return matrix

    def _match(self, patch: Picture, idle: Picture) -> Picture:
        wanted, drawn = cv2.mean(idle, self._ring), cv2.mean(patch, self._ring)
        shift = np.clip(np.subtract(wanted, drawn), -_MAX_SHIFT, _MAX_SHIFT)
        return np.asarray(cv2.add(patch, shift), np.uint8)


def _sharpened(patch: Picture) -> Picture:
    """A mild unsharp mask against the softness of a small network and of growing to the frame's size."""
    soft = cv2.GaussianBlur(patch, (0, 0), _SHARPEN_SIGMA)
    return np.asarray(cv2.addWeighted(patch, 1 + _SHARPEN, soft, -_SHARPEN, 0), np.uint8)


def _changed(patch: Picture, idle: Picture) -> Mask:
    """(S, S) in [0, 1]: 0 where patch and idle picture agree, 1 where they clearly differ, soft between."""
    difference = cv2.absdiff(patch, idle).max(axis=2).astype(np.float32)
    reach = round(_CHANGE_REACH * len(patch)) | 1
    spread = cv2.blur(cv2.dilate(difference, np.ones((5, 5), np.uint8)), (reach, reach))
    low, high = _CHANGE
    changed: Mask = np.clip((spread - low) / (high - low), 0, 1).astype(np.float32)
    return changed


def _half(share: Mask) -> Mask:
    """The mask at the chroma planes' size."""
    size = (share.shape[1] // 2, share.shape[0] // 2)
    return np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), np.float32)


def _blend(target: Frame, source: Frame, share: Mask) -> None:
    """target += (source - target) * share, in place."""
    rest = np.asarray(1 - share, np.float32)
    target[...] = cv2.blendLinear(np.ascontiguousarray(source), np.ascontiguousarray(target), share, rest)
