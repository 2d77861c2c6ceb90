"""Seams of known height along the border of a painted mask."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Mask, Picture, crop_from_landmarks, face_mask
from engine.evaluate.seam import Border, SeamMeter, SeamScore
from tests.fakes import fake_landmarks

SIZE = 128


@pytest.fixture(scope="module")
def mask() -> Mask:
    landmarks = fake_landmarks(300, 360)
    return face_mask(landmarks, crop_from_landmarks(landmarks), SIZE)


@pytest.fixture(scope="module")
def skin() -> Picture:
    """A softly shaded, slightly grained surface, so that the untouched slope is not zero."""
    y, x = np.mgrid[:SIZE, :SIZE]
    shade = 120 + 25 * np.sin(x / 21) + 20 * np.cos(y / 17)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 12, (SIZE, SIZE)), (0, 0), 1.5)
    grey = (shade + grain)[..., None]
    return np.asarray(np.clip(np.rint(grey * np.array([1.0, 0.85, 0.75])), 0, 255), np.uint8)


def pasted(skin: Picture, change: tuple[float, float, float], share: NDArray[np.floating]) -> Picture:
    changed = np.rint(skin + np.array(change) * share[..., None])
    return np.asarray(np.clip(changed, 0, 255), np.uint8)


def score(mask: Mask, picture: Picture, untouched: Picture) -> SeamScore:
    meter = SeamMeter(mask)
    meter.add(picture, untouched)
    meter.add(picture, untouched)
    return meter.score()


def test_the_untouched_picture_has_no_seam(mask: Mask, skin: Picture) -> None:
    assert score(mask, skin, skin) == SeamScore(0.0, 0.0, 1.0)


@pytest.mark.parametrize("levels", [-12.0, 4.0, 8.0])
def test_a_brighter_or_darker_patch_steps_by_its_levels(mask: Mask, skin: Picture, levels: float) -> None:
    found = score(mask, pasted(skin, (levels,) * 3, mask), skin)
    assert found.luma_step == pytest.approx(abs(levels), rel=0.15)
    assert found.chroma_step < 0.3


def test_a_tint_of_equal_brightness_steps_in_colour_alone(mask: Mask, skin: Picture) -> None:
    found = score(mask, pasted(skin, (12, -5, -5.7), mask), skin)
    assert found.chroma_step > 4
    assert found.luma_step < 0.6


def test_opposite_steps_on_both_sides_do_not_cancel(mask: Mask, skin: Picture) -> None:
    sides = np.sign(np.arange(SIZE) - SIZE / 2)[None, :] * mask
    assert score(mask, pasted(skin, (8, 8, 8), sides), skin).luma_step > 5


def test_a_hard_edge_shows_in_the_slope_and_a_feathered_one_hardly(mask: Mask, skin: Picture) -> None:
    hard = score(mask, pasted(skin, (10, 10, 10), (mask >= 0.5).astype(np.float64)), skin)
    soft = score(mask, pasted(skin, (10, 10, 10), mask), skin)
    assert soft.gradient_ratio < 1.3
    assert hard.gradient_ratio > soft.gradient_ratio + 0.3
    assert hard.luma_step == pytest.approx(soft.luma_step, rel=0.2)


def test_motion_inside_the_mouth_is_no_seam(mask: Mask, skin: Picture) -> None:
    talking = skin.copy()
    rows, columns = (int(value.mean()) for value in np.nonzero(mask > 0.9))
    cv2.ellipse(talking, (columns, rows - 10), (12, 7), 0, 0, 360, (90, 20, 30), -1)
    found = score(mask, talking, skin)
    assert found.luma_step < 0.2
    assert found.gradient_ratio < 1.05


def test_both_change_together_without_a_seam(mask: Mask, skin: Picture) -> None:
    brighter = np.asarray(np.minimum(skin, 240) + 9, np.uint8)
    assert score(mask, brighter, brighter) == SeamScore(0.0, 0.0, 1.0)


def test_a_mask_without_a_border_is_refused() -> None:
    for empty in (np.zeros((SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), np.float32)):
        with pytest.raises(ValueError, match="no border"):
            SeamMeter(empty)


def test_no_picture_no_score(mask: Mask) -> None:
    with pytest.raises(ValueError, match="no picture"):
        SeamMeter(mask).score()


def test_each_picture_may_have_a_border_of_its_own(mask: Mask, skin: Picture) -> None:
    """A seam along a border that moves is found where it is, and only there."""
    meter, elsewhere = SeamMeter(), SeamMeter()
    for shift in (0, 6, 12):
        moved = np.roll(mask, shift, axis=1)
        hard = pasted(skin, (10, 10, 10), (moved >= 0.5).astype(np.float64))
        meter.add(hard, skin, Border(moved))
        elsewhere.add(hard, skin, Border(mask))
    assert meter.score().gradient_ratio > elsewhere.score().gradient_ratio
    assert meter.score().luma_step == pytest.approx(10, rel=0.2)


def test_a_picture_without_a_border_is_refused(skin: Picture) -> None:
    with pytest.raises(ValueError, match="no border"):
        SeamMeter().add(skin, skin)
