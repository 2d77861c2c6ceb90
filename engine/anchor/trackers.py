"""Which face trackers there are."""

from collections.abc import Callable

from engine.anchor.face_alignment_tracker import FaceAlignmentTracker
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.survey import MAX_FACES
from engine.anchor.tracker import FacesTracker
from engine.errors import KouboError

DEFAULT = "mediapipe"

_TRACKERS: dict[str, Callable[[int], FacesTracker]] = {
    DEFAULT: lambda faces: MediaPipeTracker(faces=faces),
    "face-alignment": lambda faces: FaceAlignmentTracker(faces=faces),
}

NAMES = tuple(_TRACKERS)
"""The names that `open_tracker` knows."""


def open_tracker(name: str = DEFAULT, *, faces: int = MAX_FACES) -> FacesTracker:
    """A new tracker for one video, up to `faces` faces a picture; close it.

    Raises MissingToolError when its package or model is missing, KouboError for a name it does not know.
    """
    if name not in _TRACKERS:
        raise KouboError(f"There is no face tracker {name!r}; choose one of {', '.join(NAMES)}.")
    return _TRACKERS[name](faces)
