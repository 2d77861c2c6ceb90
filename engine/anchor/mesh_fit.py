"""The house's 478 points out of the 68 that most other trackers give.

The 68 points of the iBUG 300-W markup have neighbours in MediaPipe's mesh. The canonical face, with the jaw
as open as the lips are, is laid on them as seen from far away; what remains is spread over the mesh by radial
functions, so that the 68 lie where the tracker saw them and the others go along. Irises look straight ahead.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from engine.anchor.canonical import canonical_faces
from engine.anchor.crop import Points

MARKUP = 68
"""Points of the iBUG 300-W markup: jaw from the picture's left, brows, nose, eyes, outer and inner lips."""

NEIGHBOURS = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)  # fmt: skip
"""For each of the 68 its neighbour in the mesh."""

# The jaw's contour slides along the skin as the head turns, so it tells little of how the head is turned.
_POSE = tuple(range(17, 48))
_INNER_LIPS = (61, 62, 63, 65, 66, 67)
_OPENINGS = np.linspace(-0.2, 2.0, 23)  # of the canonical open mouth
_SOFT = 0.002  # of the mesh that the 68 need not be met by: their own noise


def mesh_from_68(points: Points) -> Points:
    """(478, 2) points of the mesh for (68, 2) of the markup, in the same pixels.

    Raises ValueError for another number of points or a face without extent.
    """
    if points.shape != (MARKUP, 2):
        raise ValueError(f"expected {MARKUP} landmarks with x and y, got shape {points.shape}")
    seen = points.astype(np.float64)
    if np.ptp(seen, axis=0).min() < 1:
        raise ValueError("the face has no extent")
    closed, opened = canonical_faces()
    shape = closed + _opening(seen) * (opened - closed)
    at = list(NEIGHBOURS)
    pose = [at[number] for number in _POSE]
    centre = shape[pose].mean(axis=0)
    fitted, *_ = np.linalg.lstsq(shape[pose] - centre, seen[list(_POSE)] - seen[list(_POSE)].mean(axis=0))
    laid = (shape - centre) @ fitted + seen[list(_POSE)].mean(axis=0)
    return np.asarray(laid + _spread() @ (seen - laid[at]), np.float32)


def _opening(seen: NDArray[np.float64]) -> float:
    """How far the jaw is down, 1 as in the open canonical face: the best fit of eyes, nose and inner lips."""
    closed, opened = canonical_faces()
    at = [NEIGHBOURS[number] for number in (*_POSE, *_INNER_LIPS)]
    there = seen[[*_POSE, *_INNER_LIPS]]
    there = there - there.mean(axis=0)
    errors = []
    for opening in _OPENINGS:
        shape = closed[at] + opening * (opened[at] - closed[at])
        shape = shape - shape.mean(axis=0)
        fitted, *_ = np.linalg.lstsq(shape, there)
        errors.append(float(np.square(shape @ fitted - there).sum()))
    return float(_OPENINGS[int(np.argmin(errors))])


@functools.cache
def _spread() -> NDArray[np.float64]:
    """(478, 68): how much each point of the mesh follows what remains at each of the 68.

    Thin-plate splines over the canonical face with an open mouth, in which upper and lower lip lie apart.
    """
    flat = canonical_faces()[1][:, :2]
    knots = flat[list(NEIGHBOURS)]
    size = len(knots)
    system = np.zeros((size + 3, size + 3))
    system[:size, :size] = _plate(knots, knots) + _SOFT * np.eye(size)
    system[:size, size:] = np.column_stack([np.ones(size), knots])
    system[size:, :size] = system[:size, size:].T
    values = np.column_stack([_plate(flat, knots), np.ones(len(flat)), flat])
    return np.asarray(np.linalg.solve(system, values.T).T[:, :size])


def _plate(points: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """r^2 log r between all pairs."""
    square = np.square(points[:, None] - knots[None]).sum(axis=2)
    return np.where(square > 0, square * np.log(np.maximum(square, 1e-12)) / 2, 0)
