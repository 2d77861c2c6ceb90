"""FaceTracker by MediaPipe's FaceLandmarker (478 points, 52 blendshapes; Apache-2.0)."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from engine.errors import MissingToolError
from engine.paths import cache_folder

MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task"
)
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_MODEL_NAME = "face_landmarker.task"


class MediaPipeTracker:
    """Faces through one video, in time order; a context manager."""

    def __init__(self, model: Path | None = None, *, faces: int = 1) -> None:
        """Load `model`, or the one that `face_model` finds, for up to `faces` faces. Raises
        MissingToolError.
        """
        path = model if model is not None else face_model()
        vision, options = _mediapipe(path, faces)
        self._vision = vision
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        """The face in an RGB frame uint8 (h, w, 3), None where there is none; timestamps must grow."""
        found = self.track_all(rgb, timestamp_ms)
        return found[0] if found else None

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        """The faces in an RGB frame uint8 (h, w, 3), in no order; timestamps must grow."""
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        found = self._landmarker.detect_for_video(image, timestamp_ms)
        height, width = rgb.shape[:2]
        faces = []
        for points, coefficients in zip(found.face_landmarks, found.face_blendshapes, strict=True):
            landmarks = np.array([[p.x * width, p.y * height] for p in points], np.float32)
            faces.append(Face(landmarks, {str(c.category_name): float(c.score) for c in coefficients}))
        return faces

    def close(self) -> None:
        """Give back the graph and its threads."""
        self._landmarker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def points_of_picture(rgb: Picture) -> NDArray[np.float32] | None:
    """(478, 3) points of the face in one RGB picture, pixels; z grows away from the camera, 0 at the head's
    middle. None without a face. Raises MissingToolError.
    """
    vision, options = _mediapipe(face_model(), 1)
    options.running_mode = vision.RunningMode.IMAGE
    import mediapipe

    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        found = landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        )
    if not found.face_landmarks:
        return None
    size = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]], np.float32)
    return np.array([[p.x, p.y, p.z] for p in found.face_landmarks[0]], np.float32) * size


def _mediapipe(model: Path, faces: int) -> tuple[Any, Any]:
    """MediaPipe's vision module and the landmarker's options."""
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise MissingToolError(
            "Face tracking needs MediaPipe, which is not installed; run `pip install mediapipe`."
        ) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        num_faces=faces,
    )
    return vision, options


def face_model() -> Path:
    """The face model on this machine, fetched once if need be.

    Looked for where `known_face_model` looks. Raises MissingToolError when it is nowhere and cannot be
    fetched, or is another file.
    """
    return known_face_model() or _fetch_model(cache_folder() / _MODEL_NAME)


def known_face_model() -> Path | None:
    """The face model if it is on this machine.

    Looked for in KOUBO_FACE_MODEL, then KOUBO_CACHE (default ~/.cache/koubo), then KOUBO_DATA/models (default
    ../shared/data). Raises MissingToolError when KOUBO_FACE_MODEL names no file.
    """
    named = os.environ.get("KOUBO_FACE_MODEL")
    if named:
        if not Path(named).is_file():
            raise MissingToolError(
                f"KOUBO_FACE_MODEL names {named}, which is no file; correct it or unset it."
            )
        return Path(named)
    data = Path(os.environ.get("KOUBO_DATA") or Path("..") / "shared" / "data")
    for candidate in (cache_folder() / _MODEL_NAME, data / "models" / _MODEL_NAME):
        if candidate.is_file() and _is_model(candidate.read_bytes()):
            return candidate
    return None


def _is_model(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == MODEL_SHA256


def _fetch_model(target: Path) -> Path:
    help_ = f"download {MODEL_URL} yourself and set KOUBO_FACE_MODEL to the file."
    try:
        with urllib.request.urlopen(MODEL_URL, timeout=60) as answer:
            content = bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise MissingToolError(f"The face tracking model could not be fetched ({error}); {help_}") from error
    if not _is_model(content):
        raise MissingToolError(f"The face tracking model that was fetched is not the expected file; {help_}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(target)
    return target
