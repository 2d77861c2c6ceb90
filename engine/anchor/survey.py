"""What one reading of somebody's footage tells: enough to judge it and to choose an idle loop from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Points
from engine.anchor.tracker import FacesTracker
from engine.picture.source import Source

MAX_SIDE = 1280
"""Longest side of the working pictures; larger footage is shrunk to this."""

THUMB = 48
"""Side of the grey pictures by which a loop's jump is measured."""

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

Tell = Callable[[str, int, int], None]
"""Is told (step, done, of how many); 0 where nobody knows how many."""


@dataclass(frozen=True, slots=True)
class Survey:
    """One reading of a video: n pictures at 25 a second, in working pixels.

    What is measured on a face is NaN where a picture shows none. Angles are degrees: `yaw` grows as the face
    turns towards the picture's right side, `pitch` as it looks up. `sharpness` (variance of the Laplacian at
    128x128), `brightness` and `contrast` (mean and deviation of grey, 0 to 255) are those of the mouth's
    square; `shade` is the brighter cheek's mean over the darker one's, 1 for even light. `covered` in [0, 1]
    tells how sure it is that something lies over the mouth. `loudness` is dB full scale of each picture's
    sound, NaN without sound; `voiced` is what the house's voice gate says. `damage` is the message where the
    file broke off.
    """

    source: Source
    size: tuple[int, int]
    """(width, height) of the working pictures, both even."""
    landmarks: list[Points | None]
    """(478, 2) of the presenter, who is the largest face."""
    jaw_open: Floats
    yaw: Floats
    pitch: Floats
    faces: NDArray[np.uint8]
    """How many faces of comparable size are to be seen."""
    sharpness: Floats
    brightness: Floats
    contrast: Floats
    shade: Floats
    covered: Floats
    thumbs: NDArray[np.uint8]
    """(n, THUMB, THUMB) whole pictures in grey."""
    loudness: Floats
    voiced: Flags
    damage: str | None = None


def survey(
    video: Path, tracker: FacesTracker, tell: Tell | None = None, *, max_side: int = MAX_SIDE
) -> Survey:
    """Read `video` once; the tracker stays open.

    Raises FootageError for a file without pictures or one that cannot be read, BadMediaError when there is
    no such file.
    """
    raise NotImplementedError
