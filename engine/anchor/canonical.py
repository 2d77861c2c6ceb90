"""A face of no one in particular, at rest and facing the camera: what tracked faces are held against.

The table is the mean of the studio's rendered characters, made by training/studio/canonical_face.py. x points
to the picture's right, y down, z away from the camera; one unit is the distance between the eyes.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Points

Shape = NDArray[np.float64]

_TABLE = Path(__file__).parent / "canonical_face.npy"

# Points that neither speech nor the brows nor eyelids move: corners of the eyes, bridge and sides of the
# nose, forehead, temples.
RIGID = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 19, 98, 327, 2, 10, 109, 338, 67, 297, 103, 332, 54, 284,
    21, 251, 162, 389, 127, 356, 151, 9, 8, 193, 417, 122, 351, 196, 419,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head looks, degrees: `yaw` grows towards the picture's right side, `pitch` upwards, `roll`
    clockwise on screen.
    """

    yaw: float
    pitch: float
    roll: float


@functools.cache
def canonical_faces() -> Shape:
    """(2, 478, 3): the face at rest and with its mouth wide open, in the order of MediaPipe's mesh."""
    faces: Shape = np.load(_TABLE, allow_pickle=False).astype(np.float64)
    faces.setflags(write=False)
    return faces


def head_pose(landmarks: Points) -> Pose:
    """How the head of a tracked face (478, 2) is turned: the canonical face as seen from far away (scaled
    orthographic projection), fitted to the points that speech does not move.
    """
    return pose_of(view(landmarks))


def view(landmarks: Points) -> NDArray[np.float64]:
    """(2, 3) map from the canonical face to pixels, without the shift, that fits the rigid points best."""
    rigid = list(RIGID)
    shape, seen = canonical_faces()[0][rigid], landmarks[rigid].astype(np.float64)
    fitted, *_ = np.linalg.lstsq(shape - shape.mean(axis=0), seen - seen.mean(axis=0))
    return np.asarray(fitted.T)


def pose_of(fitted: NDArray[np.float64]) -> Pose:
    """The turn in a (2, 3) map: the nearest one that keeps angles."""
    left, _, right = np.linalg.svd(fitted, full_matrices=False)
    first, second = left @ right
    third = np.cross(first, second)
    roll = math.atan2(second[0], first[0])
    # The face looks along -z; undone roll leaves yaw and pitch.
    ahead = -np.array([first[2], second[2], third[2]])
    across = ahead[0] * math.cos(roll) + ahead[1] * math.sin(roll)
    down = ahead[1] * math.cos(roll) - ahead[0] * math.sin(roll)
    yaw, pitch = math.atan2(across, -ahead[2]), math.atan2(-down, math.hypot(across, ahead[2]))
    return Pose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))
