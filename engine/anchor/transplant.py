"""One moment's lower face on another moment's head, of the same person.

Used two ways: a resting mouth onto talking pictures, for an idle loop out of talking footage; a talking mouth
onto a resting picture, for training pairs whose input tells nothing about the mouth.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import (
    Crop,
    Mask,
    Outline,
    Picture,
    Points,
    crop_from_landmarks,
    extract,
    mouth_outline,
    outline_mask,
)

STILL = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 127, 356, 234, 454, 10, 151, 9)
"""Landmarks that speech does not move: corners of the eyes, nose, temples, hinges of the jaw, forehead."""

_EYES = (0, 3)  # of STILL: the outer corners
_RING = (0.02, 0.6)  # mask values between which both pictures show the same skin
_SPREAD = 0.12  # sigma over which their difference in colour is smoothed, share of the side
_MAX_SHIFT = 32.0  # levels of 255; a larger difference is no light


def aligned(crop: Crop, onto_points: Points, source_points: Points) -> Crop:
    """The square of the source's picture that shows what `crop` shows in the other one.

    Fitted (least squares, turn, scale and shift) on `STILL`; points float (478, 2) in pixels of their
    pictures. Along a video smooth the points first, else the fit's trembling is seen.
    """
    fit = _fit(onto_points, source_points)
    a, b = fit.turn, fit.shift
    centre = a * complex(crop.cx, crop.cy) + b
    angle = crop.angle + math.atan2(a.imag, a.real)
    return Crop(float(centre.real), float(centre.imag), crop.size * float(abs(a)), angle)


def misfit(onto_points: Points, source_points: Points) -> float:
    """How differently two heads are turned: what the fit leaves, root mean square, over the distance between
    the eyes' outer corners. Below about 0.03 a transplant looks right; 0.1 is another view.
    """
    return _fit(onto_points, source_points).rest


@dataclass(frozen=True, slots=True)
class _Fit:
    """Points as complex numbers: source = turn * onto + shift, but for `rest`."""

    turn: complex
    shift: complex
    rest: float


def _fit(onto_points: Points, source_points: Points) -> _Fit:
    """Least squares (Umeyama, 1991, in the plane)."""
    onto, source = (
        points[list(STILL)].astype(np.float64) @ np.array([1, 1j]) for points in (onto_points, source_points)
    )
    centred, moved = onto - onto.mean(), source - source.mean()
    turn = complex(np.vdot(centred, moved) / np.vdot(centred, centred).real)
    rest = np.sqrt(np.mean(np.abs(moved - turn * centred) ** 2)) / abs(source[_EYES[0]] - source[_EYES[1]])
    return _Fit(turn, complex(source.mean() - turn * onto.mean()), float(rest))


def transplant(
    onto: Picture, onto_points: Points, source: Picture, source_points: Points, outline: Outline | None = None
) -> Picture:
    """The RGB picture `onto` with the lower face of `source`, both uint8 (h, w, 3), sizes may differ.

    Points float (478, 2) in pixels of their pictures. `outline` is the closed-mouth lower face in the crop of
    `onto_points` (`crop.mouth_outline`); without it, what covers the jaws of both. Raises ValueError for
    points that are no face.
    """
    crop = crop_from_landmarks(onto_points)
    there = aligned(crop, onto_points, source_points)
    side = math.ceil(crop.size)
    if outline is None:
        mask = covering(mouth_outline(onto_points, crop), mouth_outline(source_points, there), side)
    else:
        mask = outline_mask(outline, side)
    height, width = onto.shape[:2]
    to_frame = cv2.invertAffineTransform(crop.matrix(side))
    moved = cv2.warpAffine(
        source, _between(there, crop), (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    on_frame = cv2.warpAffine(mask, to_frame, (width, height), flags=cv2.INTER_LINEAR)
    return blend(onto, np.asarray(moved, np.uint8), np.asarray(on_frame, np.float32), crop.size)


def transplant_crop(
    onto: Picture, onto_points: Points, source: Picture, source_points: Points, crop: Crop, mask: Mask
) -> Picture:
    """As `transplant`, of what `crop` shows of `onto`: (S, S, 3) with S the side of `mask`.

    Each picture is resampled once, as `crop.extract` does.
    """
    side = len(mask)
    moved = extract(source, aligned(crop, onto_points, source_points), side)
    return blend(extract(onto, crop, side), moved, mask, side)


def covering(first: Outline, second: Outline, size: int) -> Mask:
    """The paste mask (size, size) that covers two lower faces, one of them perhaps with an open jaw."""
    covered: Mask = np.maximum(outline_mask(first, size), outline_mask(second, size))
    return covered


def blend(onto: Picture, moved: Picture, mask: Mask, side: float) -> Picture:
    """`moved` in `onto` through the mask, its colour drawn to that of `onto` near the mask's border.

    All of one size (h, w); `side` is that of the face's crop in pixels, which scales the smoothing.
    """
    rows, columns = np.nonzero(mask > _RING[0])
    if not rows.size:
        return onto.copy()
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    below, above, share = (part[box].astype(np.float32) for part in (onto, moved, mask))
    above = above + _light(below - above, share, _SPREAD * side)
    out = onto.copy()
    out[box] = np.clip(np.rint(below + (above - below) * share[..., None]), 0, 255)
    return out


def _light(difference: Mask, share: Mask, sigma: float) -> Mask:
    """(h, w, 3): the difference of two pictures around the mask's upper border, spread over all of it.

    Only there, on nose and cheeks, do both show the same; an open jaw and a closed one differ below.
    """
    ring = ((share > _RING[0]) & (share < _RING[1])).astype(np.float32)
    ring[len(ring) // 2 :] = 0
    near = (np.abs(difference).max(axis=2) < _MAX_SHIFT) * ring
    if not near.any():
        return np.zeros_like(difference)
    total = cv2.mean(difference, near.astype(np.uint8))[:3]
    # Far from the ring the mean rules, so that nothing is extrapolated.
    weight = cv2.GaussianBlur(near, (0, 0), sigma)
    summed = cv2.GaussianBlur(difference * near[..., None], (0, 0), sigma)
    trust = 0.1 * float(weight.max())
    spread: Mask = (summed + trust * np.array(total, np.float32)) / (weight + trust)[..., None]
    return spread


def _between(there: Crop, here: Crop) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The (2, 3) map from pixel indices of the picture of `there` to those of the picture of `here`."""
    forward, back = there.matrix(1024), cv2.invertAffineTransform(here.matrix(1024))
    matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = back[:, :2] @ forward
    matrix[:, 2] += back[:, 2]
    return matrix
