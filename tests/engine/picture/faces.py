"""A face of known motion and detail, at the anchor's resolution and as a mouth draws it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Mask, Picture, extract
from engine.picture.place import Place
from engine.picture.yuv import Frame, to_i420, to_rgb

SIDE = 96
"""Of the drawn picture."""

LIPS = (0.34, 0.4, 0.66, 0.5)

SKIN, DARK, LIP = (205, 160, 140), (60, 25, 30), (170, 90, 95)


def square_mask(size: int = SIDE, margin: int = 0) -> Mask:
    """One amid the crop, fading to zero over a fifth of it at each side."""
    rise = np.clip((np.arange(size) - margin) / 20, 0, 1)
    edge = np.minimum(rise, rise[::-1])
    return np.asarray(np.minimum(edge[:, None], edge[None, :]), np.float32)


def skin(width: int = 320, height: int = 240, grain: float = 10, seed: int = 0) -> Picture:
    """Softly shaded skin with pores."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shade = 18 * np.sin(x / 60) + 14 * np.cos(y / 50)
    pores = cv2.GaussianBlur(rng.normal(0, grain, (height, width)), (0, 0), 0.8)
    return np.asarray(np.clip(np.array(SKIN) + (shade + pores)[..., None], 0, 255), np.uint8)


def with_lips(picture: Picture, crop: Crop, gape: float = 0.0, drop: float = 0.0) -> Picture:
    """The picture with lips in `crop`, opened by `gape` and the lower one lowered by `drop`, in sides."""
    out = picture.copy()
    side = crop.size
    centre = (round(crop.cx), round(crop.cy - 0.05 * side))
    lower = (centre[0], round(centre[1] + drop * side))
    width, height = round(0.15 * side), max(1, round(0.03 * side))
    if gape > 0:
        cv2.ellipse(out, centre, (width, round((0.03 + gape) * side)), 0, 0, 360, DARK, -1, cv2.LINE_AA)
    cv2.ellipse(out, centre, (width, height), 0, 180, 360, LIP, -1, cv2.LINE_AA)
    cv2.ellipse(out, lower, (width, height), 0, 0, 180, LIP, -1, cv2.LINE_AA)
    return out


def place_in(frame: Frame, crop: Crop, mask: Mask | None = None) -> Place:
    """The crop of an I420 frame as the paster wants it."""
    mask = square_mask() if mask is None else mask
    return Place(crop, mask, extract(to_rgb(frame), crop, len(mask)), LIPS)


def talking(crop: Crop, gape: float = 0.1, grain: float = 10) -> tuple[Frame, Place, Picture]:
    """Anchor, place and a soft drawn mouth, open by `gape`."""
    face = skin(grain=grain)
    anchor = to_i420(with_lips(face, crop))
    drawn = extract(with_lips(face, crop, gape, gape), crop, SIDE)
    return anchor, place_in(anchor, crop), np.asarray(cv2.GaussianBlur(drawn, (0, 0), 1.0), np.uint8)


def fine(luma: NDArray[np.generic]) -> NDArray[np.float64]:
    """The finest structure of a plane."""
    values = luma.astype(np.float64)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), 1.0))
