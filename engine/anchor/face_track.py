"""Where the mouth's square and the lower face are, picture by picture: following the head, not the jaw, and
without trembling.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Points, crop_from_landmarks, mouth_outline
from engine.anchor.loops import at_rest, closed_lips
from engine.anchor.shares import mouth_shares
from engine.anchor.survey import Flags, Survey
from engine.anchor.transplant import aligned, misfit
from engine.errors import NoFaceError
from engine.speech.audio import FRAME_RATE

_MAX_GAP = 5  # pictures without a face that may lie between two with one
_MARGIN = FRAME_RATE  # pictures around a stretch that smoothing looks at
_REACH, _ORDER = 5, 4  # of the smoothing: 0.44 s, a polynomial of the fourth order
_MODELS = 8  # pictures with closed lips that tell what the face is like when it rests
_NEAR = 0.03  # misfit that makes a model count a third less


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """Of n pictures in a row: `landmarks` float32 (478, 2) each, smoothed over time; `crops` of the face as
    it is with closed lips; `raw` the same before smoothing; `outlines` float32 (n, 2 * OUTLINE_POINTS),
    shares of the crop's side; `shares` float32 (n,) in [0, 1], how much of a drawn mouth may be shown.
    """

    landmarks: list[Points]
    crops: list[Crop]
    raw: list[Crop]
    outlines: NDArray[np.float32]
    shares: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Model:
    """The face at rest in one picture."""

    landmarks: Points
    crop: Crop
    outline: NDArray[np.float32]


def follow_face(survey: Survey, usable: Flags, first: int, last: int) -> FaceTrack:
    """The face through pictures `first` to `last` (exclusive); what lies up to a second around is looked at.

    The square is that of the face with closed lips, as in the `usable` (n,) pictures of the survey where they
    are, turned, moved and scaled with what speech does not move. Raises NoFaceError where the face is missing
    for longer than a fifth of a second.
    """
    low, high = _known_around(survey.landmarks, first, last)
    raw = _bridge_gaps(survey.landmarks[low:high], low)
    smooth = steady_points(raw)
    models = _models(survey, usable) or [
        _model(points) for points in smooth[:: max(1, len(smooth) // _MODELS)]
    ]
    crops, outlines = _rest(models, smooth)
    raw_crops, _ = _rest(models, raw)
    shares = mouth_shares(survey.yaw[low:high], survey.pitch[low:high])
    wanted = slice(first - low, last - low)
    return FaceTrack(smooth[wanted], crops[wanted], raw_crops[wanted], outlines[wanted], shares[wanted])


def steady_points(landmarks: Sequence[Points]) -> list[Points]:
    """Landmarks of pictures in a row without the tracker's trembling: Savitzky and Golay's smoothing.

    A Gaussian that is as calm stays several pixels behind a head that nods (tests/engine/anchor/
    test_face_track.py).
    """
    reach = min(_REACH, len(landmarks) - 1)
    if 2 * reach < _ORDER:
        return list(landmarks)
    track = np.stack(landmarks).astype(np.float64)
    # Mirrored through the ends, which keeps a steady motion as it is.
    before, after = 2 * track[0] - track[reach:0:-1], 2 * track[-1] - track[-2 : -reach - 2 : -1]
    steps = np.arange(-reach, reach + 1) / reach
    weights = np.linalg.pinv(np.stack([steps**power for power in range(_ORDER + 1)], axis=1))[0]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([before, track, after]), len(steps), axis=0
    )
    return list(np.asarray(windows @ weights, np.float32))


def _models(survey: Survey, usable: Flags) -> list[_Model]:
    """Up to _MODELS pictures at rest, spread over the directions in which the face looks."""
    resting = np.flatnonzero(closed_lips(survey) & usable)
    if resting.size == 0:
        resting = np.flatnonzero(at_rest(survey) & usable)
    by_direction = resting[np.argsort(survey.yaw[resting], kind="stable")]
    spread = by_direction[np.linspace(0, len(by_direction) - 1, min(_MODELS, len(by_direction))).astype(int)]
    return [
        _model(points) for points in (survey.landmarks[number] for number in spread) if points is not None
    ]


def _model(landmarks: Points) -> _Model:
    crop = crop_from_landmarks(landmarks)
    return _Model(landmarks, crop, mouth_outline(landmarks, crop).ravel())


def _rest(models: Sequence[_Model], landmarks: Sequence[Points]) -> tuple[list[Crop], NDArray[np.float32]]:
    """The squares and outlines of the face at rest: those of the models, the ones that look in a similar
    direction counting most.
    """
    crops, outlines = [], []
    for points in landmarks:
        apart = np.array([misfit(points, model.landmarks) for model in models])
        weights = np.exp(-0.5 * ((apart - apart.min()) / _NEAR) ** 2)
        weights /= weights.sum()
        squares = np.array([_values(aligned(model.crop, model.landmarks, points)) for model in models])
        squares[:, 3] = np.unwrap(squares[:, 3])
        crops.append(Crop(*(float(value) for value in weights @ squares)))
        outlines.append(weights @ np.stack([model.outline for model in models]))
    return crops, np.asarray(outlines, np.float32)


def _values(crop: Crop) -> tuple[float, float, float, float]:
    return crop.cx, crop.cy, crop.size, crop.angle


def _known_around(landmarks: Sequence[Points | None], first: int, last: int) -> tuple[int, int]:
    """The stretch, widened on both sides as far as a face is known, by at most _MARGIN."""
    low, high = first, last
    while low > max(0, first - _MARGIN) and landmarks[low - 1] is not None:
        low -= 1
    while high < min(len(landmarks), last + _MARGIN) and landmarks[high] is not None:
        high += 1
    return low, high


def _bridge_gaps(landmarks: Sequence[Points | None], start: int) -> list[Points]:
    """Landmarks of every picture; short gaps are filled along a straight line. Raises NoFaceError."""
    known = [number for number, points in enumerate(landmarks) if points is not None]
    edges = [-1, *known, len(landmarks)]
    for before, after in itertools.pairwise(edges):
        if after - before - 1 > _MAX_GAP or not known:
            at = (start + before + 1) / FRAME_RATE
            raise NoFaceError(
                f"The face is lost at {at:.1f} s; give a video that shows it all the time, from the front."
            )
    stack: NDArray[np.float32] = np.stack([points for points in landmarks if points is not None])
    flat = stack.reshape(len(known), -1)
    numbers = np.arange(len(landmarks))
    filled = np.stack([np.interp(numbers, known, column) for column in flat.T], axis=1)
    return list(filled.astype(np.float32).reshape(len(landmarks), *stack.shape[1:]))
