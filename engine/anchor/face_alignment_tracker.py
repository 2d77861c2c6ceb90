"""FacesTracker by the package `face-alignment` (2D-FAN, 68 points; BSD-3-Clause): another pair of eyes where
MediaPipe cannot be installed or loses a face. Needs PyTorch, and is slow without a GPU.
"""

import importlib
import warnings
from types import ModuleType, TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture, Points
from engine.anchor.mesh_fit import MARKUP, mesh_from_68
from engine.anchor.tracker import Face
from engine.errors import MissingToolError

_LOOKED_AT = 640  # longer sides are shrunk to this: its networks see faces of 256 pixels at most
_EYES = (slice(36, 42), slice(42, 48))
_NOSE_BASE = 33
_MOUTH_CORNERS = (48, 54)
_INNER_LIPS = (62, 66)

# Set against MediaPipe's own coefficients on filmed clips, half of them to set, half to judge.
_JAW_GAIN = 0.64  # for the inner lips' distance, in distances from the eyes to the base of the nose
_PUCKER_WIDTHS = (0.72, 0.60)  # of the mouth, in distances between the eyes: pucker 0 and 1


class FaceAlignmentTracker:
    """Faces picture by picture; a context manager.

    Its 68 points become the 478 of the house (`mesh_from_68`); of the blendshapes there are jawOpen and
    mouthPucker, from distances.
    """

    def __init__(self, *, faces: int = 1) -> None:
        """Load the networks, on the GPU if there is one; up to `faces` faces are told. Raises
        MissingToolError.
        """
        package, device = _package()
        self._faces = faces
        try:
            self._net: Any = package.FaceAlignment(
                package.LandmarksType.TWO_D, device=device, flip_input=False, compile=False
            )
        except OSError as error:
            raise MissingToolError(
                "The weights of face-alignment could not be fetched; connect once to the internet, "
                "or use the tracker mediapipe."
            ) from error

    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        """The largest face in an RGB frame uint8 (h, w, 3), None where there is none."""
        found = self.track_all(rgb, timestamp_ms)
        return found[0] if found else None

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        """The faces in an RGB frame uint8 (h, w, 3), largest first."""
        small, scale = _shrunk(rgb)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No faces were detected")
            found = self._net.get_landmarks_from_image(small)
        faces = [np.asarray(points, np.float32)[:, :2] for points in found or ()]
        faces.sort(key=lambda points: -float(np.prod(np.ptp(points, axis=0))))
        return [_face(points * scale) for points in faces[: self._faces] if _is_face(points)]

    def close(self) -> None:
        """Give back the networks."""
        self._net = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _package() -> tuple[ModuleType, str]:
    """The package, and the device its networks run on."""
    try:
        package, torch = importlib.import_module("face_alignment"), importlib.import_module("torch")
    except ImportError as error:
        raise MissingToolError(
            "The tracker face-alignment is not installed; run `pip install face-alignment`, or use mediapipe."
        ) from error
    return package, "cuda" if torch.cuda.is_available() else "cpu"


def _shrunk(rgb: Picture) -> tuple[Picture, NDArray[np.float32]]:
    """The picture as it is looked at, and by how much its points are to be multiplied."""
    height, width = rgb.shape[:2]
    scale = max(height, width) / _LOOKED_AT
    if scale <= 1:
        return rgb, np.ones(2, np.float32)
    size = (round(width / scale), round(height / scale))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, np.array([width / size[0], height / size[1]], np.float32)


def _is_face(points: Points) -> bool:
    return points.shape == (MARKUP, 2) and float(np.ptp(points, axis=0).min()) >= 1


def _face(points: Points) -> Face:
    right, left = (points[eye].mean(axis=0) for eye in _EYES)
    apart = float(np.linalg.norm(left - right)) + 1e-6
    height = float(np.linalg.norm(points[_NOSE_BASE] - (left + right) / 2)) + 1e-6
    gap = float(np.linalg.norm(np.subtract(*points[list(_INNER_LIPS)]))) / height
    width = float(np.linalg.norm(np.subtract(*points[list(_MOUTH_CORNERS)]))) / apart
    wide, narrow = _PUCKER_WIDTHS
    return Face(
        mesh_from_68(points),
        {
            "jawOpen": float(np.clip(_JAW_GAIN * gap, 0, 1)),
            "mouthPucker": float(np.clip((wide - width) / (wide - narrow), 0, 1)),
        },
    )
