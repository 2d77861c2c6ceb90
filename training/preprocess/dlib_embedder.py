"""FaceEmbedder by dlib's residual network (CC0 weights from the face_recognition_models package)."""

import importlib.util
from pathlib import Path

import numpy as np

from engine.anchor.crop import Picture, Points
from engine.errors import MissingToolError
from training.preprocess.embedder import Vector, aligned

_WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
_SIZE = 150
_PADDING = 0.25
_FACE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ],
    np.float32,
)
"""dlib's mean face: where its network expects the five points."""


class DlibEmbedder:
    """128 numbers a face.

    dlib's own border between two single pictures is 0.6; means over pictures lie closer together for one
    person (0.33 at most in test footage, two persons 0.55 at least).
    """

    name = "dlib"
    threshold = 0.45

    def __init__(self, weights: Path | None = None) -> None:
        """Loads `weights`, or those of the installed package. Raises MissingToolError."""
        path = weights or installed_weights()
        try:
            import dlib
        except ImportError as error:
            raise MissingToolError(
                "Telling persons apart by dlib needs a package; run `pip install dlib-bin`."
            ) from error
        self._network = dlib.face_recognition_model_v1(str(path))

    def embed(self, frame: Picture, points: Points) -> Vector:
        """The vector, float32 (128,), of the face in an RGB frame; `points` (5, 2) in pixels."""
        places = (_FACE + _PADDING) / (1 + 2 * _PADDING)
        chip = aligned(frame, points, places, _SIZE)
        return np.array(self._network.compute_face_descriptor(chip), np.float32)


def installed_weights() -> Path:
    """The weights inside face_recognition_models, which is found but never run. Raises MissingToolError."""
    found = importlib.util.find_spec("face_recognition_models")
    path = Path(found.origin).parent / "models" / _WEIGHTS if found and found.origin else None
    if path is None or not path.is_file():
        raise MissingToolError(
            "Telling persons apart by dlib needs its weights; run `pip install face_recognition_models`."
        )
    return path
