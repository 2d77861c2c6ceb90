"""Between two pictures."""

import itertools

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.morph import Morph
from engine.picture.yuv import Frame, planes, to_i420
from tests.fakes import paint_face

WIDTH, HEIGHT = 320, 240


def scene(x: float, y: float = 120.0, bright: int = 0) -> Picture:
    """A head before a wall with a pattern of its own; the wall stays."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 4)
    skin = cv2.GaussianBlur(rng.integers(150, 220, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)
    move = np.array([[1, 0, x - 160], [0, 1, y - 120]], np.float64)
    skin = cv2.warpAffine(skin, move, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(mask, (round(16 * x), round(16 * y)), 16 * 50, 1.0, -1, cv2.LINE_AA, 4)
    mixed = wall + (skin.astype(np.float32) - wall) * mask[..., None]
    return np.asarray(np.clip(mixed + bright, 0, 255), np.uint8)


def frame(x: float, y: float = 120.0, bright: int = 0) -> Frame:
    return to_i420(scene(x, y, bright))


def luma(picture: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return planes(picture)[0].astype(np.float32)


def error(one: Frame, other: Frame) -> float:
    """Mean difference of luma."""
    return float(np.abs(luma(one) - luma(other)).mean())


def test_a_picture_on_its_way_to_itself_stays() -> None:
    still = frame(150)
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_array_equal(Morph(still, still).mix(still, still, share), still)


def test_it_begins_with_the_one_and_ends_with_the_other() -> None:
    start, end = frame(150), frame(165)
    morph = Morph(start, end)
    np.testing.assert_array_equal(morph.mix(start, end, 0.0), start)
    np.testing.assert_array_equal(morph.mix(start, end, 1.0), end)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_half_way_a_head_is_half_way_and_one(share: float) -> None:
    start, end = frame(150), frame(168, 126)
    truth = frame(150 + 18 * share, 120 + 6 * share)
    between = Morph(start, end).mix(start, end, share)
    plain = cv2.addWeighted(start, 1 - share, end, share, 0)
    assert error(between, truth) < 0.35 * error(np.asarray(plain, np.uint8), truth)
    u, v = planes(between)[1:], planes(truth)[1:]
    assert max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(u, v, strict=True)) < 1.5


def test_no_step_of_a_fade_is_a_jump() -> None:
    start, end = frame(150), frame(166)
    morph = Morph(start, end)
    way = [morph.mix(start, end, share) for share in np.linspace(0, 1, 9)]
    steps = [error(one, other) for one, other in itertools.pairwise(way)]
    assert max(steps) < 0.35 * error(start, end)


def test_light_changes_evenly() -> None:
    start, end = frame(150), frame(150, bright=20)
    means = [luma(Morph(start, end).mix(start, end, share)).mean() for share in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(np.diff(means), (means[-1] - means[0]) / 4, atol=0.6)


def test_what_is_drawn_on_the_frames_goes_along() -> None:
    """A mark on the head of both, though the flow was found without it."""
    start, end = frame(150), frame(168)
    morph = Morph(start, end)
    marked = []
    for x, picture in ((150, start), (168, end)):
        drawn = picture.copy()
        cv2.circle(planes(drawn)[0], (x, 130), 8, 16, -1)
        marked.append(drawn)
    between = luma(morph.mix(marked[0], marked[1], 0.5))
    dark = np.argwhere(between < 60)
    assert np.abs(dark.mean(axis=0) - (130, 159)).max() < 1.5
    assert 0.7 < len(dark) / 201 < 1.3


def test_a_matte_moves_as_its_picture_does() -> None:
    start, end = frame(150), frame(168)

    def matte(x: int) -> Frame:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.circle(mask, (x, 120), 50, 255, -1)
        return mask

    between = Morph(start, end).mix_plane(matte(150), matte(168), 0.5)
    wrong = np.abs(between.astype(int) - matte(159)) > 64
    doubled = np.abs((matte(150).astype(int) + matte(168)) // 2 - matte(159)) > 64
    assert wrong.sum() < 0.35 * doubled.sum()


def test_two_scenes_that_share_nothing_stay_within_their_colours() -> None:
    rng = np.random.default_rng(1)
    start, end = frame(150), to_i420(rng.integers(100, 140, (HEIGHT, WIDTH, 3), np.uint8))
    between = luma(Morph(start, end).mix(start, end, 0.5))
    assert between.min() >= 0.5 * luma(start).min()
    assert between.max() <= luma(start).max() + 10


@pytest.mark.parametrize("size", [(16, 16), (160, 192), (66, 1280), (1920, 1080)], ids=str)
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    start, end = to_i420(paint_face(*size)), to_i420(paint_face(*size, gape=0.05))
    between = Morph(start, end).mix(start, end, 0.4)
    assert between.shape == start.shape
    assert between.dtype == np.uint8
    between[0, 0] = 7  # a picture of its own


def test_frames_are_left_as_they_were() -> None:
    start, end = frame(150), frame(168)
    for picture in (start, end):
        picture.flags.writeable = False
    Morph(start, end).mix(start, end, 0.5)
    np.testing.assert_array_equal(start, frame(150))


def test_the_same_frames_give_the_same_picture() -> None:
    start, end = frame(150), frame(168)
    one, other = (Morph(start, end).mix(start, end, 0.4) for _ in range(2))
    np.testing.assert_array_equal(one, other)
