"""Paste-back: a drawn mouth into the anchor's I420 frame, through a feathered mask."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import Crop, Mask, Picture
from engine.picture.yuv import Frame, planes, to_i420

_RING = (0.05, 0.95)  # mask values between which, on the cheeks, mouth and anchor should agree in colour
_MAX_SHIFT = 16.0


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
        shifted so that both agree where the mask fades.
        """
        out = frame.copy()
        box = self._box(frame, crop)
        if box.right <= box.left or box.bottom <= box.top:
            return out
        if idle is not None:
            patch = self._match(patch, idle)
        warp = self._warp(crop, box)
        size = (box.right - box.left, box.bottom - box.top)
        drawn = cv2.warpAffine(
            patch, warp, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        warped = cv2.warpAffine(self._mask, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
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


def _half(share: Mask) -> Mask:
    """The mask at the chroma planes' size."""
    size = (share.shape[1] // 2, share.shape[0] // 2)
    return np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), np.float32)


def _blend(target: Frame, source: Frame, share: Mask) -> None:
    """target += (source - target) * share, in place."""
    rest = np.asarray(1 - share, np.float32)
    target[...] = cv2.blendLinear(np.ascontiguousarray(source), np.ascontiguousarray(target), share, rest)
