"""Faces turned by known angles."""

import math

import numpy as np

from engine.anchor.canonical import canonical_faces
from engine.anchor.crop import Points


def turned_face(
    centre: tuple[float, float] = (320.0, 180.0),
    eyes: float = 70.0,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    opening: float = 0.0,
    distance: float = math.inf,
) -> Points:
    """(478, 2) points of the canonical face, its eyes `eyes` pixels apart around `centre`, in degrees as
    `engine.anchor.canonical.Pose` counts them, seen from `distance` (in distances between the eyes).
    """
    closed, opened = canonical_faces()
    shape = closed + opening * (opened - closed)
    y, p, r = math.radians(yaw), math.radians(pitch), math.radians(roll)
    # Looking up lowers the back of the head: y grows downwards, the face looks along -z.
    up = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    aside = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    lean = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    turned = shape @ (lean @ aside @ up).T
    nearness = 1 / (1 + turned[:, 2:] / distance)
    return np.asarray(turned[:, :2] * nearness * eyes + np.array(centre), np.float32)
