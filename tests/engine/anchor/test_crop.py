"""The crop of the house."""

import math

import cv2
import numpy as np
import pytest

from engine.anchor.crop import (
    MASK_MARGIN,
    MASK_TOP,
    Crop,
    Points,
    crop_from_landmarks,
    extract,
    face_mask,
    input_mask,
    smooth_crops,
)
from tests.fakes import fake_landmarks


def turned(points: Points, angle: float, scale: float, shift: tuple[float, float]) -> Points:
    cos, sin = math.cos(angle), math.sin(angle)
    return (points @ (np.array([[cos, sin], [-sin, cos]]) * scale) + shift).astype(np.float32)


def test_the_square_is_tight_on_the_lower_face() -> None:
    landmarks = fake_landmarks(400, 400)
    crop = crop_from_landmarks(landmarks)
    eyes, chin = 140.0, float(landmarks[[148, 152, 377], 1].mean())
    reach = chin - eyes
    assert crop.size == pytest.approx(1.45 * reach, rel=1e-5)
    assert crop.cx == pytest.approx(200, abs=0.5)
    top, bottom = crop.cy - crop.size / 2, crop.cy + crop.size / 2
    assert abs(top - eyes) < 0.05 * reach
    assert bottom - chin == pytest.approx(0.42 * reach, abs=0.01 * reach)
    assert crop.angle == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("angle", "scale"), [(0.3, 1.0), (-0.5, 2.5), (0.1, 0.4)])
def test_it_turns_grows_and_moves_with_the_face(angle: float, scale: float) -> None:
    landmarks = fake_landmarks(300, 300)
    moved = turned(landmarks, angle, scale, (40, -25))
    crop, other = crop_from_landmarks(landmarks), crop_from_landmarks(moved)
    assert other.angle - crop.angle == pytest.approx(angle, abs=1e-4)
    assert other.size / crop.size == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(other.to_crop(moved, 192), crop.to_crop(landmarks, 192), atol=0.02)


def test_refuses_what_is_no_face() -> None:
    with pytest.raises(ValueError, match="478"):
        crop_from_landmarks(np.zeros((68, 2), np.float32))
    upside = fake_landmarks(300, 300)
    upside[:, 1] = 300 - upside[:, 1]
    with pytest.raises(ValueError, match="chin"):
        crop_from_landmarks(upside)


@pytest.mark.parametrize("size", [48, 96, 192])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_pictures_and_points_agree_to_a_tenth_of_a_pixel(size: int, angle: float) -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    spot = np.array([[171.3, 118.8]], np.float32)  # continuous coordinates of a soft dot
    rows, columns = np.mgrid[:240, :320] + 0.5
    dot = np.exp(-((columns - spot[0, 0]) ** 2 + (rows - spot[0, 1]) ** 2) / (2 * 5.0**2))
    frame[...] = np.rint(255 * dot)[..., None]
    crop = Crop(160, 120, 96, angle)
    cut = extract(frame, crop, size)[..., 0].astype(np.float64)
    own_rows, own_columns = np.mgrid[:size, :size] + 0.5
    centre = np.array([(own_columns * cut).sum(), (own_rows * cut).sum()]) / cut.sum()
    np.testing.assert_allclose(centre, crop.to_crop(spot, size)[0], atol=0.1)


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    cut = extract(stripes, Crop(200, 200, 360, 0.0), 90)
    assert abs(cut.astype(int) - 127).max() <= 3


def test_beyond_the_frame_its_edge_repeats() -> None:
    frame = np.full((50, 50, 3), 77, np.uint8)
    assert (extract(frame, Crop(45, 45, 60, 0.2), 64) == 77).all()


def test_smoothing_takes_the_tremble_and_leaves_the_motion() -> None:
    rng = np.random.default_rng(3)
    time = np.arange(120)
    path = 200 + 6 * np.sin(2 * np.pi * 0.3 * time / 25)
    noisy = [Crop(x + rng.normal(0, 0.6), 100, 150, 0.0) for x in path]
    smooth = smooth_crops(noisy)
    x = np.array([crop.cx for crop in smooth])
    assert np.abs(np.diff(x, 2)).max() < 0.5
    assert np.abs(np.diff(x, 2)).mean() < 0.1 * np.abs(np.diff([c.cx for c in noisy], 2)).mean()
    assert np.abs(x - path)[5:-5].max() < 0.8
    lag = np.correlate(x - x.mean(), path - path.mean(), "full").argmax() - (len(path) - 1)
    assert lag == 0


def test_smoothing_keeps_a_steady_motion_to_the_ends() -> None:
    steady = [Crop(float(k), 2.0 * k, 100, 0.01 * k) for k in range(30)]
    smooth = smooth_crops(steady)
    assert [c.cx for c in smooth] == pytest.approx([c.cx for c in steady])
    assert [c.angle for c in smooth] == pytest.approx([c.angle for c in steady])


def test_a_loop_is_smoothed_as_a_ring() -> None:
    rng = np.random.default_rng(5)
    ring = [Crop(x, 0, 100, 0.0) for x in rng.normal(0, 1, 40)]
    turned_ring = smooth_crops(ring[7:] + ring[:7], loop=True)
    smooth = smooth_crops(ring, loop=True)
    assert [c.cx for c in turned_ring] == pytest.approx([c.cx for c in smooth[7:] + smooth[:7]])


def test_few_crops_can_be_smoothed() -> None:
    one = [Crop(1, 2, 30, 0.1)]
    assert smooth_crops(one) == one
    assert len(smooth_crops(one * 2)) == 2
    assert smooth_crops([]) == []


def test_the_input_mask_hides_the_lower_face_inside_a_margin() -> None:
    mask = input_mask(192)
    assert mask.shape == (192, 192)
    rows, columns = np.nonzero(mask)
    assert rows.min() == round(0.22 * 192)
    assert rows.max() == 192 - round(0.04 * 192) - 1
    assert (columns.min(), columns.max()) == (round(0.04 * 192), 192 - round(0.04 * 192) - 1)
    assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_the_paste_mask_covers_mouth_jaw_and_a_dropped_jaw() -> None:
    landmarks = fake_landmarks(400, 400)
    crop = crop_from_landmarks(landmarks)
    mask = face_mask(landmarks, crop, 192)
    points = crop.to_crop(landmarks, 192)

    def at(point: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
        return float(mask[int(point[1]), int(point[0])])

    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    for lips in (61, 291, 0, 17, 13):
        assert at(points[lips]) > 0.95
    assert at(points[152]) > 0.9
    drop = np.array([0, 0.1 * 192 / 1.45], np.float32)
    assert at(points[152] + drop) > 0.6


def test_the_paste_mask_fades_where_the_input_is_visible() -> None:
    landmarks = fake_landmarks(400, 400)
    mask = face_mask(landmarks, crop_from_landmarks(landmarks), 192)
    assert mask[~input_mask(192)].max() == 0
    steepest = max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1))
    assert steepest < 0.12
    assert MASK_TOP == 0.22
    assert MASK_MARGIN == 0.04


def test_the_paste_mask_follows_a_turned_head() -> None:
    landmarks = fake_landmarks(400, 400)
    moved = turned(landmarks, 0.35, 1.3, (10, 20))
    straight = face_mask(landmarks, crop_from_landmarks(landmarks), 128)
    slanted = face_mask(moved, crop_from_landmarks(moved), 128)
    assert np.abs(cv2.blur(straight, (3, 3)) - cv2.blur(slanted, (3, 3))).max() < 0.05
