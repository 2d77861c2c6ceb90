"""Paste-back: in its place, within its mask, without a seam."""

import numpy as np
import pytest

from engine.anchor.crop import Crop, extract, face_mask
from engine.anchor.package import Avatar
from engine.picture.paste import Paster
from engine.picture.yuv import planes, to_i420, to_rgb
from tests.fakes import fake_landmarks

SIZE = 96
CROP = Crop(160.3, 130.7, 110, 0.15)


def scene() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    rows, columns = np.mgrid[:240, :320]
    waves = 128 + 60 * np.sin(columns / 17) + 40 * np.cos(rows / 13)
    return np.stack([waves, waves * 0.8 + 20, 230 - waves * 0.7], axis=-1).astype(np.uint8)


def mask() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    square = np.zeros((SIZE, SIZE), np.float32)
    rise = np.clip(np.arange(20) / 20, 0, 1)
    edge = np.concatenate([rise, np.ones(SIZE - 40), rise[::-1]])
    square[...] = np.minimum(edge[:, None], edge[None, :])
    return square


def test_the_own_crop_pasted_back_changes_nothing_to_see() -> None:
    frame = to_i420(scene())
    patch = extract(to_rgb(frame), CROP, SIZE)
    out = Paster(mask()).paste(frame, patch, CROP, 1.0)
    assert np.abs(out.astype(int) - frame).max() <= 4
    assert np.abs(out.astype(int) - frame)[:240].mean() < 0.5


def test_a_patch_lands_exactly_where_the_crop_was() -> None:
    frame = to_i420(scene())
    patch = np.zeros((SIZE, SIZE, 3), np.uint8)
    patch[30:40, 50:60] = 255  # a white square on black
    out = to_rgb(Paster(mask()).paste(frame, patch, CROP, 1.0))
    again = extract(out, CROP, SIZE)[..., 1].astype(float)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inner = (mask() == 1) & (again > 128)
    assert rows[inner].mean() == pytest.approx(34.5, abs=0.2)
    assert columns[inner].mean() == pytest.approx(54.5, abs=0.2)
    assert inner.sum() == pytest.approx(100, abs=12)


def test_outside_the_mask_not_a_bit_changes_and_the_anchor_stays() -> None:
    frame = to_i420(scene())
    kept = frame.copy()
    out = Paster(mask()).paste(frame, np.full((SIZE, SIZE, 3), 255, np.uint8), CROP, 1.0)
    np.testing.assert_array_equal(frame, kept)
    rows, columns = np.mgrid[:240, :320]
    cos, sin = np.cos(CROP.angle), np.sin(CROP.angle)
    x = (columns + 0.5 - CROP.cx) * cos + (rows + 0.5 - CROP.cy) * sin
    y = -(columns + 0.5 - CROP.cx) * sin + (rows + 0.5 - CROP.cy) * cos
    outside = np.maximum(np.abs(x), np.abs(y)) > CROP.size / 2 + 3
    np.testing.assert_array_equal(planes(out)[0][outside], planes(frame)[0][outside])
    for now, before in zip(planes(out)[1:], planes(frame)[1:], strict=True):
        np.testing.assert_array_equal(now[outside[::2, ::2]], before[outside[::2, ::2]])
    assert (planes(out)[0][~outside] != planes(frame)[0][~outside]).mean() > 0.8


def test_strength_goes_from_anchor_to_patch_in_equal_steps() -> None:
    frame = to_i420(np.full((240, 320, 3), 60, np.uint8))
    patch = np.full((SIZE, SIZE, 3), 200, np.uint8)
    paster = Paster(mask())
    levels = [int(paster.paste(frame, patch, CROP, share)[130, 160]) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert levels[0] == frame[130, 160]
    steps = np.diff(levels)
    assert steps.min() > 0
    assert steps.max() - steps.min() <= 1


def test_colour_is_matched_where_the_mask_fades() -> None:
    frame = to_i420(np.full((240, 320, 3), (150, 120, 100), np.uint8))
    idle = extract(to_rgb(frame), CROP, SIZE)
    tinted = np.add(idle, (9, -7, 5)).astype(np.uint8)
    tinted[45:55, 40:56] = (60, 10, 20)
    paster = Paster(mask())
    plain = to_rgb(paster.paste(frame, tinted, CROP, 1.0)).astype(int)
    matched = to_rgb(paster.paste(frame, tinted, CROP, 1.0, idle)).astype(int)
    cheek = (110, 125)
    assert np.abs(plain[cheek] - (150, 120, 100)).max() >= 5
    assert np.abs(matched[cheek] - (150, 120, 100)).max() <= 3
    assert matched[135, 162][1] < 60  # the mouth stays dark


@pytest.mark.parametrize("crop", [Crop(5, 5, 110, 0.2), Crop(318, 235, 90, -0.4), Crop(160, 239, 120, 0.0)])
def test_a_face_at_the_edge_is_cut_there(crop: Crop) -> None:
    frame = to_i420(scene())
    out = Paster(mask()).paste(frame, np.full((SIZE, SIZE, 3), 255, np.uint8), crop, 1.0)
    assert out.shape == frame.shape
    assert (out != frame).any()


def test_a_face_out_of_sight_changes_nothing() -> None:
    frame = to_i420(scene())
    out = Paster(mask()).paste(frame, np.zeros((SIZE, SIZE, 3), np.uint8), Crop(900, 900, 80, 0.0), 1.0)
    np.testing.assert_array_equal(out, frame)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Paster(np.zeros((SIZE, SIZE), np.float32))


def test_no_seam_along_the_border_of_a_real_mask(avatar: Avatar) -> None:
    frame = to_i420(np.full((192, 160, 3), 120, np.uint8))
    crop = avatar.card.crops[0]
    real = face_mask(fake_landmarks(160, 192), crop, SIZE)
    out = Paster(real).paste(frame, np.full((SIZE, SIZE, 3), 160, np.uint8), crop, 1.0)
    luma = planes(out)[0].astype(int)
    # 34 levels of difference are crossed in small steps.
    assert luma.max() - luma.min() > 30
    assert max(np.abs(np.diff(luma, axis=axis)).max() for axis in (0, 1)) <= 6
