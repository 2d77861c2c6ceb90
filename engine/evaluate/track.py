"""What a face tracker sees in one video, kept, so that each video is tracked once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.anchor.crop import Crop, Picture, Points, crop_from_landmarks, smooth_crops
from engine.anchor.tracker import Face, FaceTracker
from engine.errors import BadMediaError, NoFaceError
from engine.picture.video import read_rgb
from engine.speech.audio import FRAME_RATE

LENGTH_TOLERANCE = 2
"""Frames by which two videos of the same speech may differ in length."""

_LOST_SHARE = 10  # one picture in so many may be without a face

NewTracker = Callable[[], FaceTracker]


@dataclass(frozen=True, slots=True)
class Track:
    """One video: `size` (width, height), and its face in each picture, None where none was found."""

    video: Path
    size: tuple[int, int]
    faces: list[Face | None]

    def crops(self) -> list[Crop]:
        """The house crop of each picture, smoothed over time; where no face is, that of the nearest one.

        Raises NoFaceError when there is no face at all.
        """
        return smooth_crops([crop_from_landmarks(points) for points in self.landmarks()])

    def landmarks(self) -> list[Points]:
        """Landmarks of each picture; where no face is, those of the nearest one. Raises NoFaceError."""
        known = [number for number, face in enumerate(self.faces) if face is not None]
        if not known:
            raise NoFaceError(f"{self.video.name} shows no face; give a video of one talking face.")
        found = {number: face.landmarks for number, face in enumerate(self.faces) if face is not None}
        at = np.array(known)
        return [found[known[int(np.abs(at - number).argmin())]] for number in range(len(self.faces))]


def track(video: Path, new_tracker: NewTracker) -> Track:
    """Follow the face through `video` with a fresh tracker. Raises BadMediaError when it is no video."""
    tracker = new_tracker()
    faces: list[Face | None] = []
    size = (0, 0)
    try:
        for number, picture in enumerate(read_rgb(video)):
            size = (picture.shape[1], picture.shape[0])
            faces.append(tracker.track(picture, number * 1000 // FRAME_RATE))
    finally:
        tracker.close()
    return Track(video, size, faces)


def check_pair(generated: Track, reference: Track) -> int:
    """The number of pictures that both have.

    Raises BadMediaError when they differ in size or by more than LENGTH_TOLERANCE pictures in length,
    NoFaceError when a face is missing in more than a tenth of the pictures.
    """
    if generated.size != reference.size:
        ours, theirs = generated.size, reference.size
        raise BadMediaError(
            f"{generated.video.name} is {ours[0]}x{ours[1]} and {reference.video.name} "
            f"{theirs[0]}x{theirs[1]}; give two videos of the same size."
        )
    count = min(len(generated.faces), len(reference.faces))
    rest = abs(len(generated.faces) - len(reference.faces))
    if rest > LENGTH_TOLERANCE:
        raise BadMediaError(
            f"{generated.video.name} and {reference.video.name} differ by {rest} frames after {count}; "
            "give two videos of the same speech and length."
        )
    for one in (generated, reference):
        lost = sum(face is None for face in one.faces[:count])
        if lost * _LOST_SHARE > count:
            raise NoFaceError(
                f"{one.video.name} shows no face in {lost} of {count} frames; "
                "give a video of one talking face."
            )
    return count


def pictures(*tracks: Track) -> Iterator[tuple[Picture, ...]]:
    """The pictures of several videos side by side, as long as the shortest."""
    yield from zip(*(read_rgb(one.video) for one in tracks), strict=False)
