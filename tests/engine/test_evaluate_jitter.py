"""Jitter of the mouth's square, on squares whose trembling is known."""

import math

import numpy as np
import pytest

from engine.anchor.crop import Crop
from engine.evaluate.jitter import Jitter, corners, crop_jitter


def along(xs: np.ndarray, size: float = 100.0) -> list[Crop]:
    return [Crop(float(x), 50.0, size, 0.0) for x in xs]


def test_the_corners_of_a_square() -> None:
    np.testing.assert_allclose(
        corners(Crop(10, 20, 4, 0)), [(8, 18), (12, 18), (12, 22), (8, 22)], atol=1e-12
    )
    turned = corners(Crop(10, 20, 4, math.pi / 2))
    np.testing.assert_allclose(turned, [(12, 18), (12, 22), (8, 22), (8, 18)], atol=1e-12)


def test_what_stands_or_moves_steadily_does_not_tremble() -> None:
    steps = np.arange(60.0)
    for xs in (np.full(60, 7.0), 3 * steps, 0.05 * steps**2):
        assert crop_jitter(along(xs)).tremble < 1e-9


def test_a_slow_nod_is_no_trembling_and_a_quick_shake_is() -> None:
    steps = np.arange(200)
    nod = 10 * np.sin(2 * np.pi * steps * 1.0 / 25)
    shake = 1.0 * np.sin(2 * np.pi * steps * 10 / 25)
    assert crop_jitter(along(nod)).tremble < 0.1
    # The amplitude's root mean square, nearly all of it left.
    assert crop_jitter(along(shake)).tremble == pytest.approx(math.sqrt(0.5), rel=0.25)
    assert crop_jitter(along(nod + shake)).tremble == pytest.approx(math.sqrt(0.5), rel=0.25)


def test_noise_counts_by_its_size() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 2000)
    one, two = (crop_jitter(along(k * noise)).tremble for k in (1, 2))
    assert 0.6 < one < 0.95
    assert two == pytest.approx(2 * one)


def test_breathing_size_and_turning_shake_the_corners() -> None:
    sign = np.where(np.arange(50) % 2, 1.0, -1.0)
    breathing = [Crop(0, 0, 100 + s, 0) for s in sign]
    turning = [Crop(0, 0, 100, 0.01 * s) for s in sign]
    assert crop_jitter(breathing).tremble == pytest.approx(math.sqrt(2) / 2, rel=0.3)
    assert crop_jitter(turning).tremble == pytest.approx(math.hypot(50, 50) * 0.01, rel=0.3)


def test_a_square_that_stays_behind_lags() -> None:
    steps = np.arange(80.0)
    lagging = crop_jitter(along(3 * (steps - 2)), along(3 * steps))
    assert lagging.lag == pytest.approx(6)
    assert lagging.tremble < 1e-9
    assert lagging.pixels == pytest.approx(6)
    assert crop_jitter(along(3 * steps), along(3 * steps)).lag == 0


def test_the_trackers_trembling_is_no_lag() -> None:
    way = 20 * np.sin(2 * np.pi * np.arange(400) * 0.5 / 25)
    noisy = along(way + np.random.default_rng(1).normal(0, 0.5, 400))
    assert crop_jitter(along(way), noisy).lag < 0.4


def test_without_a_face_the_lag_is_not_known() -> None:
    found = crop_jitter(along(np.zeros(10)))
    assert math.isnan(found.lag)
    assert found.pixels == found.tremble == pytest.approx(0)
    assert Jitter(0.3, 0.4).pixels == pytest.approx(0.5)


def test_too_few_pictures_are_told() -> None:
    with pytest.raises(ValueError, match="at least 7"):
        crop_jitter(along(np.zeros(6)))
    with pytest.raises(ValueError, match="10 crops for 9"):
        crop_jitter(along(np.zeros(10)), along(np.zeros(9)))
