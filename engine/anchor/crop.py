"""The one crop of the house: a rotated square on the lower face.

Preparation, training and the live core all cut faces here, so a mouth always sees what it was trained on.
Points are continuous pixel coordinates: x = 0 is the left edge of the first pixel, its centre is at 0.5.
Landmark numbers are those of MediaPipe's 478-point face mesh.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]
Mask = NDArray[np.float32]
Outline = NDArray[np.float32]
"""(OUTLINE_POINTS, 2): points around the closed-mouth lower face, shares of the crop's side."""

SIDE = 1.45
"""Side of the square, in units of the distance from the eye line to the chin."""

TOP = -0.03
"""Top edge of the square below the eye line, same unit; the rest reaches 0.42 below the chin."""

MASK_TOP = 0.22
"""Share of the crop's height, from the top, that the mouth's masked input still shows."""

MASK_MARGIN = 0.04
"""Share of the crop's side, at the left, right and lower border, that the masked input still shows."""

Track = TypeVar("Track", NDArray[np.float32], NDArray[np.float64])

_RIGHT_EYE = (33, 133)
_LEFT_EYE = (362, 263)
_CHIN = (148, 152, 377)
_MIDDLE = (2, 152, 172, 397)  # nose base, chin, both corners of the jaw: the lower half's middle
_JAW = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Landmarks along the outer lips."""

_CHEEKS = (205, 4, 425)
OUTLINE_POINTS = len(_CHEEKS) + len(_JAW)
_JAW_DROP = 0.20  # room below the closed chin for an open jaw, in eye line to chin distances
_JAW_WIDEN = 1.08
_FEATHER = 0.035  # Gaussian sigma of the mask's edge, share of the side
_LANDMARKS = 478


@dataclass(frozen=True, slots=True)
class Crop:
    """A square in a frame: centre (cx, cy) and side `size` in pixels, `angle` in radians, clockwise on
    screen.
    """

    cx: float
    cy: float
    size: float
    angle: float

    def matrix(self, size: int) -> NDArray[np.float64]:
        """The (2, 3) affine map from a frame's pixel indices to those of a `size` x `size` crop, for cv2."""
        scale = size / self.size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        shift = size / 2 - turn @ np.array([self.cx, self.cy])
        # cv2 counts pixel centres at whole numbers, half a pixel from the continuous coordinates.
        return np.column_stack([turn, shift + turn @ np.array([0.5, 0.5]) - 0.5])

    def to_crop(self, points: Points, size: int) -> Points:
        """Continuous frame points (n, 2) in the continuous coordinates of a `size` x `size` crop."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        rotation = np.array([[cos, sin], [-sin, cos]])
        centred = (points - np.array([self.cx, self.cy])) @ rotation.T
        moved: Points = (centred * (size / self.size) + size / 2).astype(np.float32)
        return moved


def crop_from_landmarks(landmarks: Points) -> Crop:
    """The lower-face square of one face; `landmarks` float (478, 2) in pixels.

    Upright along the eye line, from the middle of the eyes to 0.42 of the eye-to-chin distance below the
    chin, so that a dropping jaw stays inside. Raises ValueError for another number of points or a face
    without extent.
    """
    if landmarks.shape != (_LANDMARKS, 2):
        raise ValueError(f"expected {_LANDMARKS} landmarks with x and y, got shape {landmarks.shape}")
    points = landmarks.astype(np.float64)
    right, left = points[list(_RIGHT_EYE)].mean(axis=0), points[list(_LEFT_EYE)].mean(axis=0)
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    across = np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-across[1], across[0]])
    eyes = (right + left) / 2
    reach = float((points[list(_CHIN)].mean(axis=0) - eyes) @ down)
    if reach <= 0:
        raise ValueError("the chin is not below the eyes")
    sideways = float((points[list(_MIDDLE)].mean(axis=0) - eyes) @ across)
    centre = eyes + across * sideways + down * reach * (TOP + SIDE / 2)
    return Crop(float(centre[0]), float(centre[1]), SIDE * reach, angle)


def smooth_crops(crops: Sequence[Crop], *, sigma: float = 2.5, loop: bool = False) -> list[Crop]:
    """Zero-phase Gaussian smoothing over time (`sigma` in frames), so that the square follows without
    trembling; `loop` as in `smooth_track`.
    """
    if len(crops) < 2:
        return list(crops)
    track = np.array([[c.cx, c.cy, c.size, c.angle] for c in crops])
    track[:, 3] = np.unwrap(track[:, 3])
    smooth = smooth_track(track, sigma=sigma, loop=loop)
    return [Crop(*(float(value) for value in row)) for row in smooth]


def smooth_track(track: Track, *, sigma: float = 2.5, loop: bool = False) -> Track:
    """Zero-phase Gaussian smoothing of columns (n, k) over time, `sigma` in frames.

    `loop` treats the frames as a ring, so that a looping anchor has no jump; otherwise the ends are mirrored
    through their point, which keeps a steady motion as it is.
    """
    reach = min(math.ceil(3 * sigma), len(track) - 1)
    if reach < 1:
        return track
    if loop:
        padded = np.concatenate([track[-reach:], track, track[:reach]])
    else:
        before = 2 * track[0] - track[reach:0:-1]
        after = 2 * track[-1] - track[-2 : -reach - 2 : -1]
        padded = np.concatenate([before, track, after])
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    smooth = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return np.asarray(smooth, track.dtype)


def extract(frame: Picture, crop: Crop, size: int) -> Picture:
    """Cut `crop` out of an RGB frame (h, w, 3) as a (size, size, 3) picture; outside the frame its edge
    repeats.

    Shrinking averages over the covered area (no aliasing), growing is bicubic.
    """
    steps = math.ceil(crop.size / size - 1e-6)
    if steps <= 1:
        return _warp(frame, crop, size, cv2.INTER_CUBIC)
    fine = _warp(frame, crop, size * steps, cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _warp(frame: Picture, crop: Crop, size: int, interpolation: int) -> Picture:
    matrix = crop.matrix(size)
    warped = cv2.warpAffine(frame, matrix, (size, size), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def input_mask(size: int, top: float = MASK_TOP) -> NDArray[np.bool_]:
    """(size, size), True where the mouth's masked input is blanked: the face below `top` (a share of the
    height), inside a thin margin.
    """
    margin = round(MASK_MARGIN * size)
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[round(top * size) : size - margin, margin : size - margin] = True
    return mask


def mouth_outline(landmarks: Points, crop: Crop) -> Outline:
    """The lower face of one closed-mouth face, float32 (OUTLINE_POINTS, 2), shares of the crop's side: first
    cheek, nose, cheek, then the jaw from ear to ear.
    """
    return crop.to_crop(landmarks[[*_CHEEKS, *_JAW]], 1)


def outline_mask(outline: Outline, size: int) -> Mask:
    """The paste mask of one closed-mouth face: float32 (size, size) in [0, 1], in crop coordinates.

    One over the mouth, the lower nose, the lower cheeks, the jaw and the room below it that an open jaw
    reaches; feathered to zero where `input_mask` leaves the crop visible, so that no seam can show.
    """
    return _feathered(_covered(outline, size), size)


def outlines_mask(outlines: Sequence[Outline], size: int) -> Mask:
    """A mask that is nowhere less than the paste mask of any of these faces."""
    return _feathered(np.concatenate([_covered(outline, size) for outline in outlines]), size)


def _covered(outline: Outline, size: int) -> Points:
    """Points (n, 2) whose hull a paste mask covers, in pixels."""
    cheeks, jaw = np.split(outline * size, [len(_CHEEKS)])
    middle = float(jaw[:, 0].mean())
    jaw = np.column_stack([(jaw[:, 0] - middle) * _JAW_WIDEN + middle, jaw[:, 1]])
    dropped = jaw + np.array([0, _JAW_DROP * size / SIDE], dtype=np.float32) * _depth(jaw)
    return np.concatenate([cheeks, jaw, dropped]).astype(np.float32)


def _feathered(points: Points, size: int) -> Mask:
    """The paste mask of what these points surround."""
    hull = cv2.convexHull(points)
    mask = np.zeros((size, size), dtype=np.float32)
    # Continuous coordinates to cv2's pixel centres, in 1/16 pixel.
    corners = np.rint((hull - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, corners, 1.0, lineType=cv2.LINE_AA, shift=4)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), _FEATHER * size), dtype=np.float32)
    across = _rise(size, MASK_MARGIN) * _rise(size, MASK_MARGIN)[::-1]
    down = _rise(size, MASK_TOP) * _rise(size, MASK_MARGIN)[::-1]
    feathered: Mask = mask * down[:, None] * across[None, :]
    return feathered


def face_mask(landmarks: Points, crop: Crop, size: int) -> Mask:
    """The paste mask of one closed-mouth face from its landmarks; see `outline_mask`."""
    return outline_mask(mouth_outline(landmarks, crop), size)


def _depth(jaw: Points) -> Points:
    """(n, 1): 0 at the jaw's corners, 1 at the chin; the share of the jaw's drop that a point follows."""
    low, high = float(jaw[:, 1].min()), float(jaw[:, 1].max())
    depth: Points = ((jaw[:, 1:] - low) / max(high - low, 1e-6)).astype(np.float32)
    return depth


def _rise(size: int, start: float) -> Mask:
    """(size,): 0 up to `start` (a share of the side), then rising smoothly to 1 over 8 % of the side."""
    position = (np.arange(size) + 0.5) / size
    rise = np.clip((position - start) / 0.08, 0, 1)
    ramp: Mask = (rise * rise * (3 - 2 * rise)).astype(np.float32)
    return ramp
