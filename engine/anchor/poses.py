"""Which pictures of a presenter look alike: what a switch from one clip to another should match."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import AvatarCard
from engine.anchor.crop import Crop
from engine.picture.yuv import Frame, planes

Poses = NDArray[np.float32]
"""(frames, features): two frames are as far apart as their rows, Euclidean, in sides of the crop."""

_THUMB = 12  # side in pixels of the picture's small copy
_THUMB_WEIGHT = 0.4  # a picture that differs by 1 % of white weighs like a face moved by 0.4 % of the crop
_EYES = (0.15, -0.08)  # corner of a strip over both eyes, shares of the crop's side from its upper left one
_EYES_SIZE = (20, 4)  # width and height in pixels of its small copy
_EYES_SIDE = 28.6  # side of the crop, same pixels: the strip is 0.7 wide and 0.14 high
_EYES_WEIGHT = 0.2  # a blink weighs like a face moved by about 2 % of the crop
_CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])


def find_poses(card: AvatarCard, frames: Sequence[Frame]) -> Poses:
    """The pose of every frame of an avatar: where its face is and how its outline runs, whether its eyes are
    open, and roughly how the whole picture looks. `frames` I420, through all clips.
    """
    points = _points(card)
    side = float(np.mean([crop.size for crop in card.crops]))
    shapes = points.reshape(len(points), -1) / (side * np.sqrt(points.shape[1]))
    thumbs = np.stack([_thumb(frame) for frame in frames]) * (_THUMB_WEIGHT / _THUMB)
    eyes = np.stack([_eyes(*pair) for pair in zip(frames, card.crops, strict=True)])
    eyes *= _EYES_WEIGHT / np.sqrt(eyes.shape[1])
    return np.asarray(np.concatenate([shapes, thumbs, eyes], axis=1), np.float32)


def squared_distances(some: Poses, others: Poses) -> NDArray[np.float32]:
    """float32 (m, n) between each of m and each of n poses."""
    # Around their middle the numbers are small, and what rounding leaves of them too.
    middle = others.mean(axis=0)
    some, others = some - middle, others - middle
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * some @ others.T, 0), np.float32)


def _points(card: AvatarCard) -> NDArray[np.float64]:
    """(frames, points, 2) in pixels: the crop's corners and, where it is known, the outline of the face."""
    shape = np.broadcast_to(_CORNERS, (card.frames, *_CORNERS.shape))
    if card.outlines:
        outlines = np.array(card.outlines, np.float64).reshape(card.frames, -1, 2)
        shape = np.concatenate([shape, outlines - 0.5], axis=1)
    centres, sizes, angles = (
        np.array([(crop.cx, crop.cy) for crop in card.crops]),
        np.array([crop.size for crop in card.crops]),
        np.array([crop.angle for crop in card.crops]),
    )
    cos, sin = np.cos(angles), np.sin(angles)
    turn = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)
    moved: NDArray[np.float64] = sizes[:, None, None] * (shape @ turn) + centres[:, None, :]
    return moved


def _thumb(frame: Frame) -> NDArray[np.float32]:
    luma = planes(frame)[0]
    step = max(1, min(luma.shape) // (4 * _THUMB))
    small = cv2.resize(luma[::step, ::step], (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel() / np.float32(255), np.float32)


def _eyes(frame: Frame, crop: Crop) -> NDArray[np.float32]:
    """A lid over an eye changes no outline, and next to nothing of the whole picture."""
    fine = 4  # so that averaging sees every pixel
    width, height = _EYES_SIZE
    matrix = crop.matrix(round(fine * _EYES_SIDE))
    matrix[:, 2] -= np.multiply(_EYES, fine * _EYES_SIDE)
    strip = cv2.warpAffine(planes(frame)[0], matrix, (fine * width, fine * height))
    small = cv2.resize(strip, _EYES_SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel() / np.float32(255), np.float32)
