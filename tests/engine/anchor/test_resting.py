"""Mouths at rest, lent by other moments of the same footage."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.anchor.crop import Picture, Points
from engine.anchor.face_track import follow_face
from engine.anchor.resting import RestedMouth, find_lenders, shares_of_lenders
from engine.anchor.survey import Survey
from tests.films import write
from tests.surveys import SIZE, good_survey
from tests.turned_faces import turned_face

COUNT = 80
CLOSED = turned_face((320, 180), 110)
OPEN = turned_face((320, 180), 110, opening=0.6)
LIPS = (61, 291, 0, 17)


def talking(shut: range = range(30, 50)) -> Survey:
    """Somebody who speaks but in the pictures `shut`."""
    landmarks: list[Points | None] = [CLOSED if k in shut else OPEN for k in range(COUNT)]
    jaw = np.array([0.02 if k in shut else 0.5 for k in range(COUNT)], np.float32)
    return good_survey(COUNT, landmarks=landmarks, jaw_open=jaw)


def all_fit(survey: Survey) -> np.ndarray:
    return np.ones(len(survey.landmarks), np.bool_)


def drawn(points: Points, wall: int, opened: bool) -> Picture:
    """Skin in front of a wall, with lips, or with a dark mouth."""
    width, height = SIZE
    picture = np.full((height, width, 3), wall, np.uint8)
    cv2.fillConvexPoly(picture, cv2.convexHull(points.astype(np.int32)), (205, 160, 140))
    centre = points[[13, 14]].mean(axis=0).astype(int)
    if opened:
        cv2.ellipse(picture, centre.tolist(), (40, 30), 0, 0, 360, (40, 10, 10), -1)
    else:
        cv2.ellipse(picture, centre.tolist(), (45, 6), 0, 0, 360, (170, 90, 90), -1)
    return picture


def darkness(picture: Picture) -> int:
    """How many pixels of an open mouth are to be seen."""
    x, y = CLOSED[[13, 14]].mean(axis=0).astype(int)
    return int((picture[y - 40 : y + 40, x - 50 : x + 50].max(axis=2) < 90).sum())


def test_who_closes_the_lips_lends() -> None:
    survey = talking()
    lenders = find_lenders(survey, all_fit(survey))
    assert lenders.pictures
    assert set(lenders.pictures) <= set(range(30, 50))
    assert lenders.apart.shape == (COUNT, len(lenders.pictures))
    assert lenders.reach.all()
    assert lenders.effort.max() < 1


def test_rounded_lips_do_not_lend() -> None:
    survey = talking()
    rounded = CLOSED.copy()
    rounded[61] += (18, 0)
    rounded[291] -= (18, 0)
    for number in range(30, 40):
        survey.landmarks[number] = rounded
    lenders = find_lenders(survey, all_fit(survey))
    assert set(lenders.pictures) <= set(range(40, 50))


def test_another_view_is_out_of_reach() -> None:
    survey = talking()
    for number in range(60, COUNT):
        survey.landmarks[number] = turned_face((320, 180), 110, yaw=35, opening=0.6)
    lenders = find_lenders(survey, all_fit(survey))
    assert lenders.reach[:60].all()
    assert not lenders.reach[60:].any()


def test_nobody_lends_where_lips_never_touch() -> None:
    survey = talking(shut=range(0))
    lenders = find_lenders(survey, all_fit(survey))
    assert lenders.pictures == ()
    assert not lenders.reach.any()
    unfit = find_lenders(talking(), np.zeros(COUNT, np.bool_))
    assert unfit.pictures == ()


def test_a_missing_face_is_out_of_reach() -> None:
    survey = talking()
    survey.landmarks[5] = None
    lenders = find_lenders(survey, all_fit(survey))
    assert not lenders.reach[5]
    assert lenders.reach[6]


@pytest.mark.parametrize("at_once", [range(50, 58), range(12, 20)])
def test_an_open_mouth_is_closed_and_the_wall_stays(tmp_path: Path, at_once: range) -> None:
    survey = talking()
    rng = np.random.default_rng(0)
    walls = rng.integers(20, 90, COUNT)
    speaks = [k not in range(30, 50) for k in range(COUNT)]
    pictures = [
        drawn(OPEN if opened else CLOSED, int(wall), opened)
        for opened, wall in zip(speaks, walls, strict=True)
    ]
    film = write(tmp_path / "talk.mp4", pictures)
    told: list[tuple[str, int, int]] = []
    lenders = find_lenders(survey, all_fit(survey))
    track = follow_face(survey, all_fit(survey), at_once.start, at_once.stop)
    rested = RestedMouth(film, survey, lenders, track, at_once.start, lambda *step: told.append(step))
    assert told[-1][0] == "rest"
    assert told[-1][1] == told[-1][2] >= 1
    for number in at_once:
        before = pictures[number]
        after = rested(number, before)
        assert darkness(before) > 2000
        assert darkness(after) < 40
        # The lender's wall, which is brighter or darker, is not carried along.
        assert np.abs(after[:, :150].astype(int) - before[:, :150]).max() == 0
        outside = np.ones(before.shape[:2], np.uint8)
        cv2.fillConvexPoly(outside, cv2.convexHull(OPEN.astype(np.int32)), 0)
        chin = int(OPEN[152, 1])
        outside[chin - 20 :] = 0
        assert np.abs(after.astype(int) - before)[outside > 0].mean() < 1


def test_lenders_change_rarely_and_slowly() -> None:
    price = np.full((100, 3), 4.0)
    price[:50, 0] = 1
    price[50:, 2] = 1
    price[20, 1] = 0  # for one picture only: not worth two changes
    shares = shares_of_lenders(price)
    assert (shares[:, 1] == 0).all()
    assert (shares[:30, 0] == 1).all()
    assert (shares[70:, 2] == 1).all()
    assert np.abs(np.diff(shares, axis=0)).max() < 0.15


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 1000))
def test_shares_are_shares(pictures: int, lenders: int, seed: int) -> None:
    price = np.random.default_rng(seed).uniform(0, 20, (pictures, lenders))
    shares = shares_of_lenders(price)
    assert shares.shape == price.shape
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert ((shares >= 0) & (shares <= 1)).all()
