"""I420 pictures."""

import numpy as np
import pytest

from engine.picture.yuv import planes, to_i420, to_rgb


def test_colours_survive_the_way_there_and_back() -> None:
    rows, columns = np.mgrid[:64, :96]
    rgb = np.stack([rows * 3, columns * 2, 200 - rows], axis=-1).astype(np.uint8)
    frame = to_i420(rgb)
    assert frame.shape == (96, 96)
    assert np.abs(to_rgb(frame).astype(int) - rgb).mean() < 2


@pytest.mark.parametrize(("rgb", "yuv"), [((0, 0, 0), (16, 128, 128)), ((255, 255, 255), (235, 128, 128))])
def test_the_range_is_limited(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    frame = to_i420(np.full((16, 16, 3), rgb, np.uint8))
    assert tuple(int(plane[0, 0]) for plane in planes(frame)) == pytest.approx(yuv, abs=1)


def test_red_is_that_of_bt601() -> None:
    luma, blue, red = planes(to_i420(np.full((16, 16, 3), (255, 0, 0), np.uint8)))
    assert (int(luma[0, 0]), int(blue[0, 0]), int(red[0, 0])) == pytest.approx((81, 90, 240), abs=1)


def test_planes_are_views() -> None:
    frame = np.zeros((24, 32), np.uint8)
    luma, blue, red = planes(frame)
    luma[...], blue[...], red[...] = 1, 2, 3
    assert (np.bincount(frame.ravel()) == [0, 512, 128, 128]).all()
    assert (blue.shape, red.shape) == ((8, 16), (8, 16))
