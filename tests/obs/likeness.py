"""Is this the presenter, and does it speak? A picture from anywhere, held against the anchor."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Picture, extract
from engine.anchor.package import Avatar

_SIDE = 96


@dataclass(frozen=True, slots=True)
class Likeness:
    """Mean differences from the nearest anchor picture in levels of 255: the face without its mouth, and the
    mouth.
    """

    frame: int
    face: float
    mouth: float


class Anchors:
    """The anchor's faces, upright, to hold pictures of any size against."""

    def __init__(self, avatar: Avatar) -> None:
        self._crops = avatar.card.crops
        self._width = avatar.size[0]
        left, top, right, bottom = (round(value * _SIDE) for value in avatar.card.mouth_box)
        # The jaw moves too: everything below the upper lip is the mouth's.
        self._mouth = (slice(top, min(_SIDE, bottom + (bottom - top))), slice(left, right))
        self._upper = slice(0, round(0.75 * top))
        self._faces = [_smooth(extract(avatar.rgb(k), crop, _SIDE)) for k, crop in enumerate(self._crops)]

    def compare(self, picture: Picture) -> Likeness:
        """`picture` shows the whole anchor, RGB uint8 (h, w, 3), perhaps scaled."""
        scale = picture.shape[1] / self._width
        found = Likeness(-1, 255.0, 255.0)
        for frame, (crop, anchor) in enumerate(zip(self._crops, self._faces, strict=True)):
            scaled = Crop(crop.cx * scale, crop.cy * scale, crop.size * scale, crop.angle)
            difference = np.abs(_smooth(extract(picture, scaled, _SIDE)) - anchor)
            face = float(difference[self._upper].mean())
            if face < found.face:
                found = Likeness(frame, face, float(difference[self._mouth].mean()))
        return found


def _smooth(picture: Picture) -> NDArray[np.float32]:
    """Without the noise of a codec."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), np.float32)
