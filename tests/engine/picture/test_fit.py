"""Pictures of one size in a canvas of another."""

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Crop, extract
from engine.picture.fit import Fit
from engine.picture.yuv import planes, to_i420, to_rgb
from tests.fakes import paint_face

SIZES = [(160, 192), (192, 160), (320, 384), (128, 96), (98, 302), (160, 90)]


def noise(width: int, height: int) -> np.ndarray:
    """A grey picture without any regularity, but smooth enough to be scaled."""
    rough = np.random.default_rng(3).integers(16, 236, (height // 12 + 1, width // 12 + 1, 1), np.uint8)
    grey = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.repeat(grey[..., None], 3, axis=2)


def fitted(picture: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """As RGB."""
    height, width = picture.shape[:2]
    fit, frame = Fit((width, height), canvas), to_i420(picture)
    return to_rgb(fit.frame(frame, fit.backdrop(frame)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("canvas", SIZES)
def test_a_canvas_of_any_shape_is_filled(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    grey = np.full((size[1], size[0], 3), 120, np.uint8)
    out = fitted(grey, canvas)
    assert out.shape == (canvas[1], canvas[0], 3)
    # Its edges carried out, a plain picture has no border at all.
    assert np.abs(out.astype(int) - 120).max() <= 2


def test_pictures_of_the_right_size_stay_as_they_are() -> None:
    frame = to_i420(noise(160, 192))
    fit = Fit((160, 192), (160, 192))
    np.testing.assert_array_equal(fit.frame(frame, fit.backdrop(frame)), frame)
    assert fit.crop(Crop(50.5, 60.25, 70.0, 0.1)) == Crop(50.5, 60.25, 70.0, 0.1)
    matte = frame[:192]
    np.testing.assert_array_equal(fit.plane(matte), matte)


def test_the_picture_lies_whole_and_centred() -> None:
    white = np.full((100, 200, 3), 255, np.uint8)
    white[:, :4], white[:, -4:], white[:4], white[-4:] = 0, 0, 0, 0
    matte = Fit((200, 100), (200, 300)).plane(white[..., 0])
    rows, columns = np.nonzero(matte)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (104, 195, 4, 195)
    assert not matte[:100].any()
    assert not matte[200:].any()


@pytest.mark.parametrize("canvas", [(320, 384), (480, 384), (320, 640), (90, 300), (81 * 2, 97 * 2)])
def test_crops_follow_their_face(canvas: tuple[int, int]) -> None:
    """What a crop shows is the same, cut from the picture or from the canvas."""
    picture, crop = noise(160, 192), Crop(78.3, 101.7, 64.0, 0.2)
    moved = Fit((160, 192), canvas).crop(crop)
    assert moved.angle == crop.angle
    own, found = extract(picture, crop, 32), extract(fitted(picture, canvas), moved, 32)
    apart = np.abs(own.astype(int) - found).mean()
    off = extract(fitted(picture, canvas), Crop(moved.cx + 2, moved.cy, moved.size, moved.angle), 32)
    assert apart < 0.5 * np.abs(own.astype(int) - off).mean(), "two pixels beside it would be told"
    assert apart < 4


def test_the_rest_takes_the_colours_at_the_edge_it_touches() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (200, 40, 40), (40, 40, 200)
    wide = fitted(picture, (192, 64))
    assert np.abs(wide[:, 10].astype(int) - (200, 40, 40)).max() <= 8
    assert np.abs(wide[:, -10].astype(int) - (40, 40, 200)).max() <= 8
    # Along the edge it is soft: no line of the picture runs on as a streak.
    high = fitted(picture, (64, 192)).astype(int)
    assert np.abs(np.diff(high[80], axis=0)).max() > 100
    assert np.abs(np.diff(high[8], axis=0)).max() < 40


def test_the_rest_stands_still() -> None:
    first, second = (to_i420(paint_face(64, 64, gape=gape, seed=seed)) for gape, seed in ((0, 1), (0.05, 2)))
    fit = Fit((64, 64), (128, 64))
    backdrop = fit.backdrop(first)
    before, after = fit.frame(first, backdrop), fit.frame(second, backdrop)
    assert (before != after).any()
    for one, other in zip(planes(before), planes(after), strict=True):
        quarter = one.shape[1] // 4
        np.testing.assert_array_equal(one[:, :quarter], other[:, :quarter])
        np.testing.assert_array_equal(one[:, -quarter:], other[:, -quarter:])
    assert (before == backdrop).mean() > 0.5
