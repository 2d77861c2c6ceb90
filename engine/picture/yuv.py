"""I420 pictures: uint8 (h * 3 // 2, w), the Y plane over the packed U and V planes; BT.601, limited range."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture

Frame = NDArray[np.uint8]


def to_i420(rgb: Picture) -> Frame:
    """RGB uint8 (h, w, 3) with even sides as I420."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)


def to_rgb(frame: Frame) -> Picture:
    """I420 as RGB uint8 (h, w, 3)."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)


def planes(frame: Frame) -> tuple[Frame, Frame, Frame]:
    """Views on Y (h, w), U and V (h / 2, w / 2) of a contiguous I420 picture; writing there writes to it."""
    width = frame.shape[1]
    height = frame.shape[0] * 2 // 3
    chroma = frame[height:].reshape(2, height // 2, width // 2)
    return frame[:height], chroma[0], chroma[1]
