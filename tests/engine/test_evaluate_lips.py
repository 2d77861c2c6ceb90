"""Lips over time, from tracked faces made of numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.tracker import Face
from engine.evaluate.lips import MAX_LAG, aperture, compare_lips, correlation, read_lips, shifted
from engine.evaluate.track import Track
from tests.fakes import fake_landmarks

MOTION = 0.1 + 0.08 * np.sin(np.arange(50) * 0.7) * np.cos(np.arange(50) * 0.31)


def face(gap: float) -> Face:
    return Face(fake_landmarks(200, 240, gap), {"jawOpen": gap, "mouthPucker": 0.5 - gap})


def tracked(gaps: NDArray[np.float64] | list[float | None]) -> Track:
    return Track(Path("film.mp4"), (200, 240), [None if g is None else face(float(g)) for g in gaps])


def test_aperture_is_the_inner_lips_over_the_face() -> None:
    # Forehead at 0.12 and chin at 0.75 of the height.
    assert aperture(face(0.063)) == pytest.approx(0.1, rel=0.02)


def test_lips_are_read_in_order() -> None:
    lips = read_lips([face(0.0), face(0.2)])
    assert lips.jaw == [0.0, 0.2]
    assert lips.pucker == [0.5, pytest.approx(0.3)]
    assert lips.aperture[0] == 0 < lips.aperture[1]


@pytest.mark.parametrize("lag", [-MAX_LAG, -2, 0, 3, MAX_LAG])
def test_lag_is_found_up_to_its_limit(lag: int) -> None:
    score = compare_lips(tracked(np.roll(MOTION, lag)), tracked(MOTION))
    assert score.lag_frames == lag
    assert (score.jaw_r > 0.999) == (lag == 0)


def test_pictures_without_a_face_are_left_out_on_both_sides() -> None:
    gaps: list[float | None] = [float(gap) for gap in MOTION]
    gaps[3] = gaps[17] = None
    assert compare_lips(tracked(gaps), tracked(MOTION)).jaw_r == pytest.approx(1)
    assert compare_lips(tracked(MOTION), tracked(gaps)).jaw_r == pytest.approx(1)


def test_a_longer_film_is_compared_as_far_as_both_go() -> None:
    assert compare_lips(tracked(MOTION[:40]), tracked(MOTION)).aperture_r == pytest.approx(1, abs=1e-6)


def test_opposite_motion_is_minus_one_and_no_motion_is_nothing() -> None:
    assert compare_lips(tracked(0.2 - MOTION), tracked(MOTION)).jaw_r == pytest.approx(-1)
    assert math.isnan(compare_lips(tracked(np.full(50, 0.1)), tracked(MOTION)).jaw_r)


def test_too_short_a_shift_says_minus_one() -> None:
    assert shifted([1.0, 2.0], [1.0, 2.0], 1) == -1
    assert shifted([1.0, 1.0, 1.0], [1.0, 2.0, 1.0], 0) == -1


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    assert correlation(list(a), list(b)) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert math.isnan(correlation([1, 1], [1, 2]))
    assert math.isnan(correlation([1], [2]))
