"""The seam: what shows along the border where the mouth was pasted."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Mask, Picture
from engine.evaluate.pixels import Series

_SECTORS = 16  # around the border, so that steps of opposite sign do not cancel
_RING = 0.04  # width of the two rings, share of the side
_INSIDE, _OUTSIDE = 0.9, 0.1  # mask values that count as pasted and as untouched
_MIN_PIXELS = 8  # in both rings of a sector
_BAND = 2.0  # pixels of distance that share one mean gradient
_SMOOTH = 0.02  # Gaussian sigma for the border's direction, share of the side


@dataclass(frozen=True, slots=True)
class SeamScore:
    """Against the untouched video of the same pictures.

    `luma_step` and `chroma_step`: levels of 255 by which the step in colour from inside to outside the border
    differs from the untouched one, mean over the border; `gradient_ratio`: slope across the border over the
    untouched slope at the distance from it where that is largest, 1 where no edge was added.
    """

    luma_step: float
    chroma_step: float
    gradient_ratio: float


class Border:
    """The border of one paste mask: rings of pixels inside and outside of it, slopes across it."""

    def __init__(self, mask: Mask) -> None:
        """`mask` is the float32 (S, S) paste mask in crop coordinates. Raises ValueError for an empty one."""
        size = mask.shape[0]
        reach = 2 * max(1, round(_RING * size)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        pasted, touched = (mask >= _INSIDE).astype(np.uint8), (mask > _OUTSIDE).astype(np.uint8)
        if not pasted.any() or touched.all():
            raise ValueError("the paste mask has no border")
        # What lies outside the crop counts as pasted, so the crop's own edge is no border.
        inner = pasted.astype(bool) & ~cv2.erode(pasted, kernel, borderValue=1).astype(bool)
        outer = cv2.dilate(touched, kernel).astype(bool) & ~touched.astype(bool)
        self._inner, self._outer = _sectors(pasted.astype(bool), inner), _sectors(pasted.astype(bool), outer)
        self.full = np.minimum(_counts(self._inner), _counts(self._outer)) >= _MIN_PIXELS
        self._across, self._bands = _border(mask)
        self._width = 1 + int(2 * _reach(size) // _BAND)

    def step(self, ycrcb: Series) -> Series:
        """(sectors, 3): mean colour inside minus mean colour outside."""
        return _means(ycrcb, self._inner) - _means(ycrcb, self._outer)

    def slopes(self, luma: Series) -> Series:
        """Mean slope across the border at each distance from it; as many for all masks of one size."""
        right, down = cv2.Sobel(luma, cv2.CV_64F, 1, 0) / 8, cv2.Sobel(luma, cv2.CV_64F, 0, 1) / 8
        slope = np.abs(right * self._across[..., 0] + down * self._across[..., 1])
        near = self._bands >= 0
        total = np.bincount(self._bands[near], slope[near], self._width)
        return np.asarray(
            total / np.maximum(np.bincount(self._bands[near], minlength=self._width), 1), np.float64
        )


class SeamMeter:
    """Follows the paste border through a video; pictures are crops as large as the mask."""

    def __init__(self, mask: Mask | None = None) -> None:
        """`mask` is the float32 (S, S) paste mask in crop coordinates, if one serves all pictures. Raises
        ValueError for an empty one.
        """
        self._border = None if mask is None else Border(mask)
        self._steps: list[NDArray[np.float64]] = []
        self._slope = self._untouched_slope = np.zeros(1)

    def add(self, picture: Picture, untouched: Picture, border: Border | None = None) -> None:
        """One picture and the untouched one at the same moment, RGB uint8 (S, S, 3).

        `border`: that of this picture, where each has its own. Raises ValueError where there is none at all.
        """
        border = border or self._border
        if border is None:
            raise ValueError("the picture has no border")
        ours, theirs = (_ycrcb(one) for one in (picture, untouched))
        self._steps.append(np.abs(border.step(ours) - border.step(theirs))[border.full].mean(axis=0))
        self._slope = self._slope + border.slopes(ours[..., 0])
        self._untouched_slope = self._untouched_slope + border.slopes(theirs[..., 0])

    def score(self) -> SeamScore:
        """The means so far. Raises ValueError before the first picture."""
        if not self._steps:
            raise ValueError("no picture was added")
        luma, red, blue = np.mean(self._steps, axis=0)
        used = self._untouched_slope > 0
        ratio = self._slope[used] / self._untouched_slope[used]
        return SeamScore(float(luma), float((red + blue) / 2), float(ratio.max()) if ratio.size else 1.0)


def _ycrcb(rgb: Picture) -> Series:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb), np.float64)


def _sectors(pasted: NDArray[np.bool_], ring: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(S, S): number of the sector around the pasted part's centre for each pixel of the ring, else -1."""
    rows, columns = np.nonzero(pasted)
    y, x = np.indices(ring.shape)
    turn = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi) + 0.5
    number = np.minimum((turn * _SECTORS).astype(np.int64), _SECTORS - 1)
    return np.where(ring, number, -1)


def _counts(sectors: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(sectors[sectors >= 0], minlength=_SECTORS)


def _means(values: Series, sectors: NDArray[np.int64]) -> Series:
    ring = sectors >= 0
    count = np.maximum(_counts(sectors), 1)
    sums = [np.bincount(sectors[ring], values[..., c][ring], _SECTORS) for c in range(values.shape[-1])]
    return np.stack(sums, axis=1) / count[:, None]


def _border(mask: Mask) -> tuple[Series, NDArray[np.int64]]:
    """(S, S, 2) unit vectors across the border, and the number of each pixel's band of distance, else -1."""
    size = mask.shape[0]
    half = (mask >= 0.5).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (half, 1 - half))
    distance = np.where(half > 0, inside, -outside)
    soft = cv2.GaussianBlur(distance.astype(np.float64), (0, 0), _SMOOTH * size)
    right, down = cv2.Sobel(soft, cv2.CV_64F, 1, 0), cv2.Sobel(soft, cv2.CV_64F, 0, 1)
    length = np.maximum(np.hypot(right, down), 1e-9)
    across = np.asarray(np.stack([right / length, down / length], axis=-1), np.float64)
    reach = _reach(size)
    bands = np.where(np.abs(distance) <= reach, (distance + reach) // _BAND, -1).astype(np.int64)
    return across, bands


def _reach(size: int) -> float:
    """How far from the border slopes are measured, in pixels."""
    return max(2.0, 2 * _RING * size)
