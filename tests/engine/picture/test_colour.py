"""The colour of a drawn mouth: matched, steady, and never one that a face has not."""

import numpy as np
import pytest

from engine.picture.colour import ColourMatch, Ring, bound_chroma
from engine.picture.yuv import Levels
from tests.engine.picture.faces import SIDE, square_mask

MASK = square_mask()


def face(luma: float = 120, chroma: tuple[float, float] = (112, 150), seed: int = 0) -> Levels:
    grain = np.random.default_rng(seed).normal(0, 1.5, (SIDE, SIDE)).astype(np.float32)
    colour = np.full((SIDE // 2, SIDE // 2, 2), chroma, np.float32)
    return Levels(grain + np.float32(luma), colour)


def tinted(idle: Levels, luma: float, blue: float = 0, red: float = 0) -> Levels:
    return Levels(idle.luma + np.float32(luma), idle.chroma + np.array([blue, red], np.float32))


@pytest.mark.parametrize("tint", [(9.0, 0.0, 0.0), (-12.0, 3.0, -5.0), (0.0, -8.0, 8.0)])
def test_a_wrong_tint_is_taken_away(tint: tuple[float, float, float]) -> None:
    idle = face()
    matched = ColourMatch().match(tinted(idle, *tint), Ring.of(idle, MASK))
    assert np.abs(matched.luma - idle.luma).max() < 0.6
    assert np.abs(matched.chroma - idle.chroma).max() < 0.3


def test_light_that_differs_from_left_to_right_is_followed() -> None:
    idle = face()
    slope = np.linspace(-5, 5, SIDE, dtype=np.float32)
    matched = ColourMatch().match(Levels(idle.luma + slope, idle.chroma), Ring.of(idle, MASK))
    assert np.abs(matched.luma - idle.luma)[10:-10, 10:-10].mean() < 0.7


def test_the_mouth_itself_keeps_its_colour() -> None:
    idle = face()
    drawn = tinted(idle, 6)
    drawn.luma[40:56, 36:60] = 30
    matched = ColourMatch().match(drawn, Ring.of(idle, MASK))
    assert matched.luma[48, 48] == pytest.approx(24, abs=1)


def test_hair_across_the_ring_does_not_count() -> None:
    idle = face()
    drawn = tinted(idle, 5)
    drawn.luma[:, 4:16] -= 70
    matched = ColourMatch().match(drawn, Ring.of(idle, MASK))
    assert np.median(np.abs(matched.luma - idle.luma)) < 1.5


def test_no_shift_is_larger_than_the_limit() -> None:
    idle = face()
    matched = ColourMatch().match(tinted(idle, 60), Ring.of(idle, MASK))
    assert float(np.median(matched.luma - idle.luma)) == pytest.approx(44, abs=1)


def test_what_is_measured_with_noise_stays_put() -> None:
    """The ring trembles by two levels, the mouth must not."""
    match = ColourMatch()
    idle = face()
    shifts = []
    for number in range(40):
        drawn = tinted(idle, 5)
        drawn.luma[:40] += -1 if number % 2 else 1
        shifts.append(float(match.match(drawn, Ring.of(idle, MASK)).luma[60, 48] - drawn.luma[60, 48]))
    assert np.ptp(shifts[10:]) < 0.5
    assert np.mean(shifts[10:]) == pytest.approx(-5, abs=0.3)


def test_new_light_is_followed_at_once() -> None:
    match = ColourMatch()
    idle = face()
    for _ in range(10):
        match.match(tinted(idle, 1), Ring.of(idle, MASK))
    matched = match.match(tinted(idle, 11), Ring.of(idle, MASK))
    assert abs(float(np.median(matched.luma - idle.luma))) < 0.7


def test_reset_forgets() -> None:
    match = ColourMatch()
    idle = face()
    match.match(tinted(idle, 5), Ring.of(idle, MASK))
    match.reset()
    again = match.match(tinted(idle, 4), Ring.of(idle, MASK))
    assert abs(float(np.median(again.luma - idle.luma))) < 0.3


def test_a_mask_without_a_ring_changes_nothing() -> None:
    idle = face()
    drawn = tinted(idle, 5)
    for mask in (np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)):
        np.testing.assert_array_equal(ColourMatch().match(drawn, Ring.of(idle, mask)).luma, drawn.luma)


LIPS = (32.0, 40.0, 64.0, 48.0)


def test_a_green_tooth_turns_grey_and_a_violet_chin_skin() -> None:
    moved = face().chroma
    drawn = moved.copy()
    drawn[22, 24] = (120, 100)  # a tooth: greener than grey
    drawn[40, 24] = (140, 150)  # a chin: bluer than skin
    bound = bound_chroma(drawn, moved, LIPS)
    assert bound[22, 24, 1] >= 131  # the yellow of a tooth
    assert bound[40, 24, 0] == pytest.approx(114, abs=0.1)


def test_teeth_darkness_and_lips_are_left_alone() -> None:
    moved = face().chroma
    drawn = moved.copy()
    drawn[22, 24] = (125, 130)
    drawn[24, 24] = (114, 158)
    np.testing.assert_allclose(bound_chroma(drawn, moved, LIPS), drawn)


def test_lips_beyond_the_picture_do_no_harm() -> None:
    moved = face().chroma
    for lips in ((-40.0, -40.0, -20.0, -30.0), (300.0, 300.0, 340.0, 320.0)):
        np.testing.assert_allclose(bound_chroma(moved.copy(), moved, lips), moved)
