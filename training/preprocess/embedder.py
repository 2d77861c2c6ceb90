"""The role of a face embedder: a vector that is near for one person and far for two."""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture, Points

Vector = NDArray[np.float32]


class FaceEmbedder(Protocol):
    """Tells persons apart."""

    name: str

    threshold: float
    """Mean Euclidean distance between two groups of vectors up to which they are one person."""

    def embed(self, frame: Picture, points: Points) -> Vector:
        """The vector, float32 (n,), of the face in an RGB frame; `points` (5, 2) in pixels as in
        preprocess.faces: outer and inner corner of the left eye, of the right eye, base of the nose.
        """
        ...


def aligned(frame: Picture, points: Points, places: Points, size: int) -> Picture:
    """The face turned and scaled so that `points` lie at `places` (n, 2), in [0, 1] of a square of `size`."""
    matrix, _ = cv2.estimateAffinePartial2D(points, places * size, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("the points lie on one another")
    chip = cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, dtype=np.uint8)
