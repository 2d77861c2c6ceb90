"""Several videos of the same speech, measured picture by picture in one reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.anchor.crop import Crop, Mask, Points, extract, face_mask
from engine.evaluate.flicker import FlickerMeter
from engine.evaluate.lips import aperture
from engine.evaluate.mouth import Fidelity, Quality, fidelity, quality
from engine.evaluate.pixels import luminance
from engine.evaluate.seam import SeamMeter, SeamScore
from engine.evaluate.track import Track, check_pair, pictures

_LIP_CORNERS, _LIP_MIDDLES = (61, 291), (0, 17)
_MOUTH_REACH = 0.75  # half the side of the mouth's square, in mouth widths
_MIN_MASK, _MAX_MASK = 96, 384

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the mouth is: one crop for each picture, the paste mask (S, S) in crop coordinates."""

    crops: Sequence[Crop]
    mask: Mask


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One video's figures: likeness to the truth, flicker in levels of 255, seam against the untouched."""

    fidelity: Fidelity
    flicker: float
    seam: SeamScore


def place_of(truth: Track) -> Place:
    """Crops along a filmed truth and the paste mask of its most closed mouth. Raises NoFaceError."""
    crops = truth.crops()
    landmarks = truth.landmarks()
    opened = [np.inf if face is None else aperture(face) for face in truth.faces]
    closed = int(np.argmin(opened))
    side = float(np.median([crop.size for crop in crops]))
    size = int(np.clip(round(side / 2) * 2, _MIN_MASK, _MAX_MASK))
    return Place(crops, face_mask(landmarks[closed], crops[closed], size))


def score_columns(
    truth: Track, others: Mapping[Name, Track], place: Place, untouched: Track
) -> dict[Name, PictureScore]:
    """The score of each video in `others`, by name. They may include `truth` and `untouched`.

    `untouched` shows the same pictures without a pasted mouth: the anchor, or the truth where none is known.
    Raises BadMediaError for videos of different size or length, NoFaceError where faces are missing.
    """
    for other in others.values():
        check_pair(other, truth)
    size = place.mask.shape[0]
    box = _mouth_square(truth.landmarks(), place.crops, size)
    flickers = {name: FlickerMeter() for name in others}
    seams = {name: SeamMeter(place.mask) for name in others}
    rows: dict[Name, list[Quality]] = {name: [] for name in others}
    together = pictures(truth, untouched, *others.values())
    for number, ((true, plain, *shown), crop, face) in enumerate(
        zip(together, place.crops, truth.faces, strict=False)
    ):
        plain_crop = extract(plain, crop, size)
        for name, picture in zip(others, shown, strict=True):
            cut = extract(picture, crop, size)
            flickers[name].add(luminance(cut[box]))
            seams[name].add(cut, plain_crop)
            if face is not None and others[name].faces[number] is not None:
                rows[name].append(quality(picture, true, face))
    return {
        name: PictureScore(fidelity(rows[name]), flickers[name].levels, seams[name].score())
        for name in others
    }


def _mouth_square(landmarks: Sequence[Points], crops: Sequence[Crop], size: int) -> tuple[slice, slice]:
    """A fixed square around the mouth in crop coordinates: pixels that stay aligned over time."""
    numbers = list(_LIP_CORNERS + _LIP_MIDDLES)
    lips = np.mean(
        [crop.to_crop(points[numbers], size) for points, crop in zip(landmarks, crops, strict=False)], axis=0
    )
    centre = lips.mean(axis=0)
    reach = max(6.0, _MOUTH_REACH * float(np.linalg.norm(lips[0] - lips[1])))
    (left, top), (right, bottom) = centre - reach, centre + reach
    return (
        slice(max(0, round(float(top))), min(size, round(float(bottom)))),
        slice(max(0, round(float(left))), min(size, round(float(right)))),
    )
