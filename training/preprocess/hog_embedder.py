"""FaceEmbedder without weights: oriented gradients of the aligned face.

It groups footage of one session well. The same person under other light, with another beard or another
camera, becomes a person of their own; two persons are seldom taken for one. Where grouping across sessions
matters, install the `persons` extra.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture, Points
from training.preprocess.embedder import Vector, aligned

_SIZE = 64
_CELL = 8
_BINS = 9
_PLACES = np.array([[0.82, 0.3], [0.62, 0.3], [0.18, 0.3], [0.38, 0.3], [0.5, 0.62]], np.float32)


class HogEmbedder:
    """576 numbers a face, of length 1: which way the edges lie in each cell of the aligned face."""

    name = "hog"
    threshold = 0.4

    def embed(self, frame: Picture, points: Points) -> Vector:
        """The vector, float32 (576,), of the face in an RGB frame; `points` (5, 2) in pixels."""
        grey = cv2.cvtColor(aligned(frame, points, _PLACES, _SIZE), cv2.COLOR_RGB2GRAY).astype(np.float32)
        across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        strength, angle = np.hypot(across, down), np.arctan2(down, across) % np.pi
        bins = np.minimum((angle / np.pi * _BINS).astype(int), _BINS - 1)
        cells = np.stack([_pooled(np.where(bins == number, strength, 0)) for number in range(_BINS)], axis=2)
        # Each cell by itself of length 1, so that light from one side counts little.
        cells /= np.linalg.norm(cells, axis=2, keepdims=True) + 1e-3
        return np.asarray(cells.ravel() / max(float(np.linalg.norm(cells)), 1e-6), np.float32)


def _pooled(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    count = _SIZE // _CELL
    pooled: NDArray[np.float32] = picture.reshape(count, _CELL, count, _CELL).sum(axis=(1, 3))
    return pooled
