"""Step 7, first half: what is to be seen in each picture, one row a picture.

A row holds what the later steps decide by, so that hours of footage stay a table of some megabytes and no
picture has to be kept.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode
from scenedetect.detectors import ContentDetector

from engine.anchor.canonical import head_pose
from engine.anchor.crop import Crop, Picture
from engine.anchor.survey import counted_faces
from engine.anchor.tracker import Face, FacesTracker
from engine.errors import BadMediaError
from engine.picture.clarity import clarity
from engine.speech.audio import FRAME_RATE
from training.clips import lip_centre, padded

ROW = np.dtype(
    [
        ("faces", "u1"),  # number of faces, background left out; 0 leaves the rest at 0
        ("cut", "?"),  # a scene begins here
        ("crop", "f4", 4),  # cx, cy, size, angle of the mouth's square, unsmoothed
        ("lips", "f4", 2),  # centre of the lips, pixels of the frame
        ("gape", "f4"),  # inner lips' distance, in sides of the square
        ("yaw", "f4"),  # degrees to the side
        ("points", "f4", (5, 2)),  # outer and inner corners of both eyes, base of the nose; pixels
        ("sharpness", "f4"),
        ("light", "f4"),
        ("contrast", "f4"),
    ]
)
Table = NDArray[Any]
"""Rows of dtype ROW, (n,), one a picture at 25 a second."""

FACE_POINTS = (263, 362, 33, 133, 2)
"""Landmarks of an embedder's five points (preprocess.embedder)."""

_INNER_LIPS = (13, 14)
_CHUNK = 1500
_SCENE_WIDTH = 160
_TRACKED = 1920  # longer sides are shrunk to this for the tracker


class SceneCuts:
    """Scene changes by PySceneDetect, picture after picture."""

    def __init__(self) -> None:
        self._detector = ContentDetector(min_scene_len=FRAME_RATE // 2)
        self._count = 0

    def push(self, frame: Picture) -> list[int]:
        """Numbers of the pictures at which a scene is now known to begin, counted from the first pushed."""
        height = max(16, round(frame.shape[0] * _SCENE_WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_SCENE_WIDTH, height), interpolation=cv2.INTER_AREA)
        time = FrameTimecode(self._count, float(FRAME_RATE))
        self._count += 1
        return [int(found.frame_num) for found in self._detector.process_frame(time, small[:, :, ::-1])]


def watch(
    pictures: Iterable[Picture],
    tracker: FacesTracker,
    progress: Callable[[int], None] | None = None,
) -> tuple[Table, str | None]:
    """One row for each RGB picture, and the message of the damage where the file breaks off.

    Raises BadMediaError when not even the first picture can be read.
    """
    chunks: list[Table] = []
    cuts: list[int] = []
    scenes = SceneCuts()
    rows = np.zeros(_CHUNK, ROW)
    count = 0
    damage = None
    try:
        for frame in pictures:
            if count and count % _CHUNK == 0:
                chunks.append(rows)
                rows = np.zeros(_CHUNK, ROW)
            cuts += scenes.push(frame)
            _look(frame, count, tracker, rows[count % _CHUNK])
            count += 1
            if progress is not None:
                progress(count)
    except BadMediaError as error:
        if count == 0:
            raise
        damage = str(error)
    table = np.concatenate([*chunks, rows])[:count]
    table["cut"][[cut for cut in cuts if 0 < cut < count]] = True
    return table, damage


def crop_at(table: Table, index: int) -> Crop:
    """The unsmoothed square of a row."""
    return Crop(*(float(value) for value in table["crop"][index]))


def lips_at(table: Table, index: int, crop: Crop) -> list[float]:
    """Centre of the lips in [0, 1] of `crop`."""
    x, y = crop.to_crop(table["lips"][index][None], 1)[0]
    return [round(float(x), 4), round(float(y), 4)]


def _look(frame: Picture, number: int, tracker: FacesTracker, row: Any) -> None:
    shrunk, scale = _fit(frame)
    faces = tracker.track_all(shrunk, number * 1000 // FRAME_RATE)
    counted = counted_faces([Face(face.landmarks * scale, face.blendshapes) for face in faces])
    if not counted:
        return
    crop, landmarks = counted[0]
    row["faces"] = len(counted)
    row["crop"] = (crop.cx, crop.cy, crop.size, crop.angle)
    x, y = lip_centre(landmarks, padded(crop))
    row["lips"] = _from_square(padded(crop), x, y)
    upper, lower = landmarks[list(_INNER_LIPS)]
    row["gape"] = float(np.linalg.norm(lower - upper)) / crop.size
    row["yaw"] = head_pose(landmarks).yaw
    row["points"] = landmarks[list(FACE_POINTS)]
    seen = clarity(frame, crop)
    row["sharpness"], row["light"], row["contrast"] = seen.sharpness, seen.light, seen.contrast


def _fit(frame: Picture) -> tuple[Picture, np.float32]:
    """The picture as the tracker sees it, and by how much its points are to be multiplied."""
    scale = max(frame.shape[:2]) / _TRACKED
    if scale <= 1:
        return frame, np.float32(1)
    size = (round(frame.shape[1] / scale), round(frame.shape[0] / scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.float32(frame.shape[1] / size[0])


def _from_square(crop: Crop, x: float, y: float) -> tuple[float, float]:
    """A point in [0, 1] of the square in pixels of the frame."""
    cos, sin = math.cos(crop.angle) * crop.size, math.sin(crop.angle) * crop.size
    return crop.cx + cos * (x - 0.5) - sin * (y - 0.5), crop.cy + sin * (x - 0.5) + cos * (y - 0.5)
