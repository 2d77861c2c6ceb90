"""I420 pictures: uint8 (h * 3 // 2, w), the Y plane over the packed U and V planes; BT.601, limited range."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture

Frame = NDArray[np.uint8]
Plane = NDArray[np.float32]

NEUTRAL: Final = 128.0
"""U and V of a grey pixel."""


@dataclass(frozen=True, slots=True)
class Levels:
    """A picture to reckon with, in levels of 255: `luma` float32 (h, w), `chroma` (h / 2, w / 2, 2)."""

    luma: Plane
    chroma: Plane


def to_i420(rgb: Picture) -> Frame:
    """RGB uint8 (h, w, 3) with even sides as I420."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)


def to_rgb(frame: Frame) -> Picture:
    """I420 as RGB uint8 (h, w, 3)."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)


def to_levels(rgb: Picture) -> Levels:
    """RGB uint8 (h, w, 3) with even sides in the levels of I420."""
    luma, *chroma = planes(to_i420(rgb))
    return Levels(luma.astype(np.float32), cv2.merge(chroma).astype(np.float32))


def floats(values: cv2.typing.MatLike) -> Plane:
    """What OpenCV made of float32, as such."""
    return np.asarray(values, np.float32)


def ramp(values: cv2.typing.MatLike, low: float, high: float) -> Plane:
    """In the memory of float32 `values`: 0 up to `low`, 1 from `high` on, straight between."""
    rising = floats(values)
    rising -= np.float32(low)
    rising *= np.float32(1 / (high - low))
    np.clip(rising, 0, 1, out=rising)
    return rising


def planes(frame: Frame) -> tuple[Frame, Frame, Frame]:
    """Views on Y (h, w), U and V (h / 2, w / 2) of a contiguous I420 picture; writing there writes to it."""
    width = frame.shape[1]
    height = frame.shape[0] * 2 // 3
    chroma = frame[height:].reshape(2, height // 2, width // 2)
    return frame[:height], chroma[0], chroma[1]
