"""Paste-back: in its place, within its mask, without a seam, the same each time."""

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Crop, face_mask
from engine.anchor.package import Avatar
from engine.picture.paste import Paster
from engine.picture.place import Place
from engine.picture.yuv import planes, to_i420, to_rgb
from tests.engine.picture.faces import LIPS, SIDE, place_in, skin, square_mask, talking, with_lips
from tests.fakes import fake_landmarks

CROP = Crop(160.3, 130.7, 110, 0.15)


def flat(colour: tuple[int, int, int] = (60, 60, 60)) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return to_i420(np.full((240, 320, 3), colour, np.uint8))


def painted(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A patch whose edge is as the anchor of `flat` and whose middle has another brightness."""
    patch = np.full((SIDE, SIDE, 3), 60, np.uint8)
    cv2.circle(patch, (SIDE // 2, SIDE // 2 + 4), 16, (value, value, value), -1)
    return patch


def test_the_own_crop_pasted_back_changes_nothing_at_all() -> None:
    frame = to_i420(with_lips(skin(), CROP))
    place = place_in(frame, CROP)
    np.testing.assert_array_equal(Paster().paste(frame, place.idle, place, 1.0), frame)


def test_what_is_drawn_lands_exactly_where_the_crop_was() -> None:
    frame = flat((0, 0, 0))
    place = place_in(frame, CROP)
    patch = np.zeros((SIDE, SIDE, 3), np.uint8)
    patch[40:52, 50:62] = 255
    out = planes(Paster().paste(frame, patch, place, 1.0))[0]
    bright = np.maximum(out.astype(float) - 60, 0)  # sharpening leaves a dark rim
    rows, columns = np.mgrid[:240, :320]
    x, y = (float((bright * axis).sum() / bright.sum()) + 0.5 for axis in (columns, rows))
    at = CROP.to_crop(np.array([[x, y]], np.float32), SIDE)[0]
    assert at[0] == pytest.approx(56, abs=0.25)
    assert at[1] == pytest.approx(46, abs=0.25)


def test_outside_the_mask_not_a_bit_changes_and_the_anchor_stays() -> None:
    frame = flat()
    kept = frame.copy()
    out = Paster().paste(frame, painted(220), place_in(frame, CROP), 1.0)
    np.testing.assert_array_equal(frame, kept)
    rows, columns = np.mgrid[:240, :320]
    cos, sin = np.cos(CROP.angle), np.sin(CROP.angle)
    x = (columns + 0.5 - CROP.cx) * cos + (rows + 0.5 - CROP.cy) * sin
    y = -(columns + 0.5 - CROP.cx) * sin + (rows + 0.5 - CROP.cy) * cos
    outside = np.maximum(np.abs(x), np.abs(y)) > CROP.size / 2
    np.testing.assert_array_equal(planes(out)[0][outside], planes(frame)[0][outside])
    for now, before in zip(planes(out)[1:], planes(frame)[1:], strict=True):
        np.testing.assert_array_equal(now[outside[::2, ::2]], before[outside[::2, ::2]])
    assert (planes(out)[0] != planes(frame)[0]).sum() > 700


def test_strength_goes_from_anchor_to_patch_in_equal_steps() -> None:
    frame = flat()
    place = place_in(frame, CROP)
    levels = [
        int(Paster().paste(frame, painted(200), place, share)[136, 160]) for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert levels[0] == frame[136, 160]
    steps = np.diff(levels)
    assert steps.min() > 10
    assert steps.max() - steps.min() <= 2


def test_each_frame_has_its_own_mask() -> None:
    anchor, place, patch = talking(CROP)
    small = square_mask(margin=30)
    paster = Paster()
    wide = paster.paste(anchor, patch, place, 1.0)
    narrow = paster.paste(anchor, patch, Place(CROP, small, place.idle, LIPS), 1.0)
    again = Paster().paste(anchor, patch, Place(CROP, small, place.idle, LIPS), 1.0)
    changed = [np.abs(one.astype(int) - anchor)[:240].sum() for one in (wide, narrow, again)]
    assert changed[1] < 0.7 * changed[0]
    assert changed[1] == pytest.approx(changed[2], rel=0.1)


@pytest.mark.parametrize("crop", [Crop(5, 5, 110, 0.2), Crop(318, 235, 90, -0.4), Crop(160, 239, 120, 0.0)])
def test_a_face_at_the_edge_is_cut_there(crop: Crop) -> None:
    frame = flat()
    patch = np.full((SIDE, SIDE, 3), 60, np.uint8)
    patch[20:80:2, 20:80] = 230
    out = Paster().paste(frame, patch, place_in(frame, crop), 1.0)
    assert out.shape == frame.shape
    assert (out != frame).any()


def test_a_face_out_of_sight_changes_nothing() -> None:
    frame = flat()
    crop = Crop(900, 900, 80, 0.0)
    np.testing.assert_array_equal(Paster().paste(frame, painted(200), place_in(frame, crop), 1.0), frame)


def test_an_empty_mask_changes_nothing() -> None:
    frame = flat()
    place = place_in(frame, CROP, np.zeros((SIDE, SIDE), np.float32))
    np.testing.assert_array_equal(Paster().paste(frame, painted(200), place, 1.0), frame)


def test_no_strength_changes_nothing() -> None:
    frame = flat()
    np.testing.assert_array_equal(Paster().paste(frame, painted(200), place_in(frame, CROP), 0.0), frame)


def test_the_same_calls_give_the_same_pictures() -> None:
    def run() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        paster = Paster()
        out = []
        for number in range(12):
            anchor, place, patch = talking(CROP, gape=0.02 + 0.05 * (number % 3))
            out.append(paster.paste(anchor, patch, place, min(1.0, (number + 1) / 3)))
            if number == 6:
                paster.rest()
        return out

    for one, other in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_after_a_rest_it_starts_afresh() -> None:
    anchor, place, patch = talking(CROP)
    paster = Paster()
    paster.paste(anchor, painted(130), place, 1.0)
    paster.rest()
    np.testing.assert_array_equal(
        paster.paste(anchor, patch, place, 1.0), Paster().paste(anchor, patch, place, 1.0)
    )


def test_no_box_shows_around_a_mouth_that_opens() -> None:
    anchor, place, patch = talking(CROP)
    change = np.abs(planes(Paster().paste(anchor, patch, place, 1.0))[0].astype(int) - planes(anchor)[0])
    rows, columns = np.mgrid[:240, :320]
    far = np.hypot((columns - CROP.cx) / 0.3, (rows - CROP.cy - 3) / 0.3) > CROP.size
    assert change[~far].max() > 60
    assert change[far].max() <= 3


def test_no_seam_along_the_border_of_a_real_mask(avatar: Avatar) -> None:
    frame = to_i420(np.full((192, 160, 3), 120, np.uint8))
    crop = avatar.card.crops[0]
    real = face_mask(fake_landmarks(160, 192), crop, SIDE)
    tinted = np.full((SIDE, SIDE, 3), 120, np.uint8)
    tinted[60:] = 160  # the lower face, a little of everything
    luma = planes(Paster().paste(frame, tinted, place_in(frame, crop, real), 1.0))[0].astype(int)
    assert luma.max() - luma.min() > 20
    assert np.abs(np.diff(luma[-30:], axis=0)).max() <= 8


def test_it_is_cheap_to_keep_hold_of_one_mask_a_frame(avatar: Avatar) -> None:
    first = avatar.mask(3)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, avatar.mask(3))
    assert np.abs(first * 255 - np.rint(first * 255)).max() < 1e-4


def test_a_grey_mouth_on_a_grey_face_stays_grey() -> None:
    frame = flat((130, 130, 130))
    out = to_rgb(Paster().paste(frame, painted(200), place_in(frame, CROP), 1.0)).astype(int)
    assert np.ptp(out, axis=2).max() <= 3
