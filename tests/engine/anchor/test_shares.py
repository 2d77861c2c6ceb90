"""How much of a drawn mouth may be shown, by where the face looks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.anchor.shares import AWAY, mouth_shares


def constant(yaw: float, pitch: float, count: int = 60) -> float:
    shares = mouth_shares(np.full(count, yaw, np.float32), np.full(count, pitch, np.float32))
    assert np.ptp(shares) < 1e-5
    return float(shares[0])


def test_a_face_towards_the_camera_shows_all_and_a_profile_nothing() -> None:
    assert constant(0, 0) == constant(12, -10) == pytest.approx(1)
    assert constant(AWAY[1] + 1, 0) == constant(-60, 0) == constant(0, AWAY[1] + 1) == 0
    middle = sum(AWAY) / 2
    assert constant(middle, 0) == constant(-middle, 0) == constant(0, middle) == pytest.approx(0.5)
    assert constant(0.6 * middle, -0.8 * middle) == pytest.approx(0.5)


def test_the_further_away_the_less() -> None:
    shares = [constant(yaw, 0) for yaw in range(0, 60, 2)]
    assert shares == sorted(shares, reverse=True)


def test_no_face_shows_nothing() -> None:
    assert constant(float("nan"), float("nan")) == 0


def test_a_quick_turn_fades_the_mouth_before_the_profile_comes() -> None:
    yaw = np.zeros(100, np.float32)
    yaw[50:56] = 60
    shares = mouth_shares(yaw, np.zeros(100, np.float32))
    assert (shares[50:56] == 0).all()
    assert np.abs(np.diff(shares)).max() < 0.25
    assert (shares[:25] > 0.99).all()
    assert (shares[85:] > 0.99).all()


@given(st.lists(st.floats(-90, 90, width=32), min_size=2, max_size=80))
def test_never_more_than_the_picture_allows_and_never_a_switch(angles: list[float]) -> None:
    yaw = np.array(angles, np.float32)
    still = np.zeros_like(yaw)
    shares = mouth_shares(yaw, still)
    alone = np.array([mouth_shares(one[None], still[:1])[0] for one in yaw])
    assert shares.shape == yaw.shape
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (shares <= alone + 1e-5).all()
