"""The role of a face tracker: where a face's points are, and how it moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.anchor.crop import Picture, Points


@dataclass(frozen=True, slots=True)
class Face:
    """One tracked face.

    `landmarks` float32 (478, 2): MediaPipe's face mesh in pixels of the frame, continuous coordinates.
    `blendshapes`: ARKit-like coefficients in [0, 1] by name, such as jawOpen and mouthPucker.
    """

    landmarks: Points
    blendshapes: Mapping[str, float]


class FaceTracker(Protocol):
    """Follows one face through a video."""

    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        """The face in an RGB frame uint8 (h, w, 3), None where there is none; timestamps must grow."""
        ...

    def close(self) -> None:
        """Give back what the tracker holds."""
        ...


class FacesTracker(Protocol):
    """Follows several faces through a video."""

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        """The faces in an RGB frame uint8 (h, w, 3), in no order; timestamps must grow."""
        ...

    def close(self) -> None:
        """Give back what the tracker holds."""
        ...
