"""Flicker on brightness whose motion is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluate.flicker import FlickerMeter


def levels(brightness: NDArray[np.floating]) -> float:
    meter = FlickerMeter()
    for value in brightness:
        meter.add(np.full((8, 8), value))
    return meter.levels


def test_stillness_and_steady_change_do_not_flicker() -> None:
    assert levels(np.full(10, 80.0)) == 0
    assert levels(np.linspace(10, 200, 10)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("amplitude", [0.5, 2.0, 10.0])
def test_alternating_brightness_counts_four_times_its_amplitude(amplitude: float) -> None:
    assert levels(100 + amplitude * (-1.0) ** np.arange(12)) == pytest.approx(4 * amplitude)


def test_slow_motion_counts_less_than_fast_motion_of_the_same_reach() -> None:
    slow, fast = (100 + 20 * np.sin(np.arange(100) * speed) for speed in (0.1, 1.0))
    assert levels(slow) < 0.02 * levels(fast)


def test_a_flicker_on_top_of_motion_adds_to_it() -> None:
    motion = 100 + 20 * np.sin(np.arange(60) * 0.2)
    assert levels(motion + 3 * (-1.0) ** np.arange(60)) > 10 * levels(motion)


def test_one_trembling_pixel_counts_by_its_share() -> None:
    meter = FlickerMeter()
    for k in range(9):
        picture = np.full((10, 10), 50.0)
        picture[3, 4] += 5 * (-1.0) ** k
        meter.add(picture)
    assert meter.levels == pytest.approx(4 * 5 / 100)


def test_two_pictures_say_nothing() -> None:
    assert math.isnan(levels(np.array([1.0, 9.0])))


def test_after_a_restart_what_came_before_does_not_count() -> None:
    meter = FlickerMeter()
    for level in (0, 0, 0):
        meter.add(np.full((4, 4), float(level)))
    meter.restart()
    for level in (90, 90, 90):
        meter.add(np.full((4, 4), float(level)))
    assert meter.levels == 0
