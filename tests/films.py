"""Small films of painted faces whose lips are known."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from tests.fakes import paint_face

WIDTH, HEIGHT = 224, 272

GAPES: NDArray[np.float64] = 0.05 + 0.04 * np.sin(np.arange(60) * 0.9) * np.cos(np.arange(60) * 0.23)
"""How open the lips of a talking film are, share of the picture's height."""


def faces(gapes: Sequence[float] | NDArray[np.float64], *, blur: float = 0) -> list[Picture]:
    """A talking face with a little noise; `blur` softens all of it."""
    pictures = [paint_face(WIDTH, HEIGHT, gape=float(gape), seed=k) for k, gape in enumerate(gapes)]
    if blur:
        pictures = [np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.uint8) for picture in pictures]
    return pictures


def write(path: Path, pictures: Sequence[Picture], samples: Samples | None = None) -> Path:
    """The pictures as a video, with sound if given."""
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, (width, height), sound=samples is not None, crf=10) as video:
        for number, picture in enumerate(pictures):
            video.write(to_i420(picture))
            if samples is not None:
                video.write_sound(samples[number * SAMPLES_PER_TICK : (number + 1) * SAMPLES_PER_TICK])
    return path


def film(path: Path, gapes: Sequence[float] | NDArray[np.float64], blur: float = 0) -> Path:
    """A silent film of a talking face."""
    return write(path, faces(gapes, blur=blur))
