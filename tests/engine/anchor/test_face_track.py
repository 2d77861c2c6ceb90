"""The mouth's square through a video, against heads whose way is known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Points, crop_from_landmarks, smooth_crops
from engine.anchor.face_track import follow_face, steady_points
from engine.anchor.survey import Survey
from engine.errors import NoFaceError
from engine.evaluate.jitter import corners, crop_jitter
from tests.surveys import good_survey, without_face
from tests.turned_faces import turned_face

COUNT = 150
FIT = np.ones(COUNT, np.bool_)
NOISE = 0.4  # pixels, as MediaPipe's on a face of this size


def nodding(
    opening: float = 0.0, noise: float = 0.0, yaw: float = 0.0, hertz: float = 2.0
) -> tuple[Survey, list[Crop]]:
    """A head that nods and sways while it speaks, and the true square of it with closed lips."""
    rng = np.random.default_rng(0)
    seconds = np.arange(COUNT) / 25
    landmarks: list[Points | None] = []
    truth = []
    yaws = yaw * np.sin(seconds * 1.3)
    for second, turn in zip(seconds, yaws, strict=True):
        centre = (320 + 10 * np.sin(seconds_to(second, 0.5)), 180 + 8 * np.sin(seconds_to(second, hertz)))
        gape = opening * abs(np.sin(second * 14)) if second > 1 else 0.0
        face = turned_face(centre, 110, yaw=float(turn), opening=gape)
        landmarks.append((face + rng.normal(0, noise, face.shape)).astype(np.float32))
        truth.append(crop_from_landmarks(turned_face(centre, 110, yaw=float(turn))))
    survey = good_survey(COUNT, landmarks=landmarks, voiced=np.zeros(COUNT, np.bool_))
    return replace(survey, yaw=yaws.astype(np.float32)), truth


def seconds_to(second: float, hertz: float) -> float:
    return 2 * np.pi * hertz * second


def off(crops: list[Crop], truth: list[Crop]) -> NDArray[np.float64]:
    """(n,): mean distance of the corners, pixels."""
    return np.array(
        [np.linalg.norm(corners(a) - corners(b), axis=1).mean() for a, b in zip(crops, truth, strict=True)]
    )


def test_a_head_at_rest_has_its_own_square() -> None:
    survey, truth = nodding()
    track = follow_face(survey, FIT, 0, COUNT)
    assert off(track.crops, truth)[5:-5].max() < 0.3
    assert track.outlines.shape == (COUNT, 36)
    assert np.ptp(track.outlines, axis=0).max() < 1e-3
    assert (track.shares == 1).all()


def test_the_square_does_not_follow_the_jaw() -> None:
    survey, truth = nodding(opening=0.5)
    track = follow_face(survey, FIT, 0, COUNT)
    assert off(track.crops, truth).max() < 0.01 * truth[0].size
    own = [crop_from_landmarks(points) for points in survey.landmarks if points is not None]
    assert off(own, truth).max() > 10


def test_trembling_goes_and_nothing_lags() -> None:
    survey, truth = nodding(noise=NOISE, opening=0.3)
    track = follow_face(survey, FIT, 0, COUNT)
    found = crop_jitter(track.crops, track.raw)
    assert found.tremble < 0.5
    assert found.lag < 0.5
    assert crop_jitter(track.crops, truth).lag < 0.01 * truth[0].size
    assert crop_jitter(track.raw).tremble > 2 * found.tremble


def test_a_gaussian_as_calm_stays_behind() -> None:
    survey, truth = nodding(hertz=3)
    track = follow_face(survey, FIT, 0, COUNT)
    gaussian = smooth_crops(track.raw, sigma=2.5)
    assert crop_jitter(track.crops, truth).lag < 0.5
    assert crop_jitter(gaussian, truth).lag > 3


def test_a_head_that_turns_keeps_its_square() -> None:
    survey, truth = nodding(yaw=20, opening=0.4)
    side = truth[0].size
    apart = off(follow_face(survey, FIT, 0, COUNT).crops, truth)
    assert apart.mean() < 0.02 * side
    assert apart.max() < 0.06 * side


def test_a_stretch_is_followed_as_the_whole() -> None:
    survey, _ = nodding(noise=NOISE)
    whole = follow_face(survey, FIT, 0, COUNT)
    part = follow_face(survey, FIT, 60, 120)
    assert len(part.crops) == len(part.landmarks) == len(part.shares) == 60
    assert off(part.crops, whole.crops[60:120]).max() < 0.05
    np.testing.assert_allclose(part.landmarks[0], whole.landmarks[60], atol=0.05)


def test_short_gaps_are_bridged_and_long_ones_told() -> None:
    survey, truth = nodding(hertz=0.5)
    bridged = follow_face(without_face(survey, 100, 105), FIT, 50, 150)
    assert off(bridged.crops, truth[50:150]).max() < 1
    assert np.isfinite(bridged.outlines).all()
    with pytest.raises(NoFaceError, match=r"lost at 4\.0 s"):
        follow_face(without_face(survey, 100, 106), FIT, 50, 150)
    with pytest.raises(NoFaceError):
        follow_face(without_face(survey, 0, COUNT), FIT, 0, COUNT)


def test_gaps_outside_of_the_stretch_do_not_matter() -> None:
    survey, truth = nodding()
    track = follow_face(without_face(survey, 0, 100), FIT, 100, 140)
    assert off(track.crops, truth[100:140])[3:].max() < 0.01 * truth[0].size


def test_somebody_who_never_closes_the_lips_is_followed_too() -> None:
    parted = turned_face((320, 180), 110, opening=0.4)
    survey = good_survey(60, landmarks=[parted] * 60, jaw_open=0.4)
    track = follow_face(survey, np.ones(60, np.bool_), 0, 60)
    assert off(track.crops, [crop_from_landmarks(parted)] * 60).max() < 0.5


def test_smoothing_keeps_slow_and_steady_ways() -> None:
    face = turned_face((320, 180), 110)
    steady = [np.asarray(face + 2 * k, np.float32) for k in range(40)]
    np.testing.assert_allclose(np.stack(steady_points(steady)), np.stack(steady), atol=1e-3)
    assert len(steady_points(steady[:1])) == 1
    assert len(steady_points(steady[:2])) == 2
    assert len(steady_points(steady[:4])) == 4
