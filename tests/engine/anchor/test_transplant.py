"""One moment's lower face on another moment's head."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.crop import (
    Crop,
    Picture,
    Points,
    crop_from_landmarks,
    extract,
    face_mask,
    mouth_outline,
    outline_mask,
)
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.tracker import Face
from engine.anchor.transplant import STILL, aligned, blend, covering, misfit, transplant, transplant_crop
from engine.evaluate.lips import aperture
from engine.picture.video import read_rgb
from tests.fakes import fake_landmarks, paint_face

SIDE = 320


def turned(picture: Picture, points: Points, angle: float, scale: float) -> tuple[Picture, Points]:
    """Picture and points turned by `angle` and scaled about the middle."""
    middle = SIDE / 2
    matrix = cv2.getRotationMatrix2D((middle - 0.5, middle - 0.5), -math.degrees(angle), scale)
    moved = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    around = (points - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
    return np.asarray(moved, np.uint8), around.astype(np.float32)


def lips(picture: Picture, points: Points) -> Picture:
    """The middle of the face's crop, where the mouth is painted."""
    return extract(picture, crop_from_landmarks(points), 96)[24:64, 28:68]


@pytest.fixture(scope="module")
def resting() -> tuple[Picture, Points]:
    return paint_face(SIDE, SIDE), fake_landmarks(SIDE, SIDE)


@pytest.fixture(scope="module")
def talking() -> tuple[Picture, Points]:
    return paint_face(SIDE, SIDE, gape=0.07, seed=1), fake_landmarks(SIDE, SIDE, 0.1)


def test_a_square_finds_the_same_skin_in_the_other_picture(resting: tuple[Picture, Points]) -> None:
    picture, points = resting
    moved, there = turned(picture, points, 0.2, 1.25)
    crop = crop_from_landmarks(points)
    other = aligned(crop, points, there)
    assert other.angle == pytest.approx(crop.angle + 0.2, abs=1e-4)
    assert other.size == pytest.approx(1.25 * crop.size, rel=1e-4)
    here, found = (extract(one, at, 96).astype(int) for one, at in ((picture, crop), (moved, other)))
    assert np.abs(here - found).mean() < 2.5


def test_it_looks_only_at_what_speech_does_not_move(resting: tuple[Picture, Points]) -> None:
    _, points = resting
    other = points.copy()
    moving = np.setdiff1d(np.arange(478), STILL)
    other[moving] += 30
    crop = crop_from_landmarks(points)
    same = aligned(crop, points, other)
    assert (same.cx, same.cy, same.size) == pytest.approx((crop.cx, crop.cy, crop.size), rel=1e-5)
    assert misfit(points, other) == pytest.approx(0, abs=1e-6)


def test_misfit_is_of_the_view_not_of_the_place(resting: tuple[Picture, Points]) -> None:
    picture, points = resting
    _, moved = turned(picture, points, 0.4, 0.7)
    assert misfit(points, moved + 12) == pytest.approx(0, abs=1e-5)
    nose = points.copy()
    nose[[4, 5, 1, 2]] += (10, 0)  # a head turned to the side shows it by its nose
    assert misfit(points, nose) > 0.03
    assert misfit(points, moved) < misfit(points, nose)


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.15, 1.1), (-0.1, 0.9)])
def test_a_talking_mouth_onto_a_resting_face(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points], angle: float, scale: float
) -> None:
    picture, points = resting
    speaking, there = turned(*talking, angle, scale)
    made = transplant(picture, points, speaking, there)
    truth = talking[0]
    assert np.abs(lips(made, points).astype(int) - lips(truth, points)).mean() < 5
    assert np.abs(lips(picture, points).astype(int) - lips(truth, points)).mean() > 20


def test_a_resting_mouth_onto_a_talking_face(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points]
) -> None:
    made = transplant(*talking, *resting)
    assert np.abs(lips(made, resting[1]).astype(int) - lips(resting[0], resting[1])).mean() < 3


def test_what_lies_outside_the_mask_stays_to_the_last_bit(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points]
) -> None:
    picture, points = resting
    crop = crop_from_landmarks(points)
    made = transplant(picture, points, *talking)
    assert np.array_equal(made[: int(crop.cy - crop.size / 2)], picture[: int(crop.cy - crop.size / 2)])
    assert np.array_equal(made[:, : int(crop.cx - crop.size / 2)], picture[:, : int(crop.cx - crop.size / 2)])
    assert made is not picture
    assert not np.array_equal(made, picture)


def test_another_light_leaves_no_border(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points]
) -> None:
    """The skin of the donor is 14 levels darker; what is transplanted has the receiver's colour."""
    picture, points = resting
    darker = np.clip(talking[0].astype(int) - 14, 0, 255).astype(np.uint8)
    made = transplant(picture, points, darker, talking[1])
    same = transplant(picture, points, *talking)
    crop = crop_from_landmarks(points)
    skin = outline_mask(mouth_outline(points, crop), 128) > 0.5
    skin[64:] = False
    difference = np.abs(extract(made, crop, 128).astype(int) - extract(same, crop, 128))[skin]
    assert difference.mean() < 1.5


def test_a_shadow_on_one_side_is_followed() -> None:
    """Light that falls off across the face: a single shift for all of it would leave a border."""
    onto = np.full((100, 100, 3), 150, np.uint8)
    slope = np.linspace(-15, 15, 100)[None, :, None]
    moved = np.clip(150 + slope + np.zeros((100, 100, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((100, 100), np.float32)
    cv2.circle(mask, (50, 50), 32, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 4), np.float32)
    made = blend(onto, moved, mask, 100).astype(int)
    ring = (mask > 0.1) & (mask < 0.5)
    ring[50:] = False
    assert np.abs(made[ring] - 150).mean() < 3
    flat = np.abs(onto + (moved - onto.astype(int)) * mask[..., None] - 150)[ring].mean()
    assert np.abs(made[ring] - 150).mean() < 0.7 * flat


def test_a_scarf_that_came_between_is_not_taken_for_light() -> None:
    """Where the two differ by more than light can, the colour stays."""
    onto, moved = np.full((100, 100, 3), 200, np.uint8), np.full((100, 100, 3), 40, np.uint8)
    mask = np.zeros((100, 100), np.float32)
    mask[30:70, 30:70] = 1
    assert (blend(onto, moved, mask, 100)[50, 50] == 40).all()


def test_an_empty_mask_changes_nothing() -> None:
    onto, moved = np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20, 3), np.uint8)
    assert np.array_equal(blend(onto, moved, np.zeros((20, 20), np.float32), 20), onto)


def test_the_mask_covers_both_jaws(resting: tuple[Picture, Points]) -> None:
    _, points = resting
    crop = crop_from_landmarks(points)
    first = mouth_outline(points, crop)
    lower = first.copy()
    lower[3:, 1] = np.minimum(lower[3:, 1] + 0.06, 0.9)
    both = covering(first, lower, 96)
    assert (both >= outline_mask(first, 96)).all()
    assert (both >= outline_mask(lower, 96)).all()
    assert both.shape == (96, 96)
    assert both.max() <= 1


def test_a_given_outline_says_what_is_replaced(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points]
) -> None:
    picture, points = resting
    crop = crop_from_landmarks(points)
    outline = mouth_outline(points, crop)
    narrow = (outline - 0.5) * 0.5 + 0.5
    grain = np.random.default_rng(0).integers(-20, 20, talking[0].shape)
    grainy = np.clip(talking[0] + grain, 0, 255).astype(np.uint8)
    whole, small = (transplant(picture, points, grainy, talking[1], part) for part in (outline, narrow))
    changed = [(np.abs(made.astype(int) - picture) > 2).any(axis=2).sum() for made in (whole, small)]
    assert changed[1] < 0.7 * changed[0]


def test_in_the_crop_as_in_the_whole_picture(
    resting: tuple[Picture, Points], talking: tuple[Picture, Points]
) -> None:
    picture, points = resting
    speaking, there = turned(*talking, 0.1, 1.05)
    crop = crop_from_landmarks(points)
    mask = face_mask(points, crop, 128)
    cut = transplant_crop(picture, points, speaking, there, crop, mask)
    whole = extract(transplant(picture, points, speaking, there, mouth_outline(points, crop)), crop, 128)
    assert cut.shape == (128, 128, 3)
    assert np.abs(cut.astype(int) - whole).mean() < 2


def test_pictures_of_two_sizes(resting: tuple[Picture, Points], talking: tuple[Picture, Points]) -> None:
    large = np.asarray(cv2.resize(talking[0], (2 * SIDE, 2 * SIDE)), np.uint8)
    made = transplant(*resting, large, talking[1] * 2)
    assert made.shape == resting[0].shape
    assert np.abs(lips(made, resting[1]).astype(int) - lips(talking[0], resting[1])).mean() < 6


def test_points_that_are_no_face(resting: tuple[Picture, Points]) -> None:
    picture, points = resting
    with pytest.raises(ValueError, match="478"):
        transplant(picture, points[:68], picture, points)


def test_the_square_may_leave_the_picture(resting: tuple[Picture, Points]) -> None:
    """A face at the picture's edge: no error, and nothing beyond the edge."""
    picture, points = resting
    aside = points + np.array([SIDE / 2.5, 0], np.float32)
    assert transplant(picture, aside, picture, points).shape == picture.shape
    far = Crop(2.0 * SIDE, SIDE / 2, 50, 0.0)
    assert aligned(far, points, points).cx == pytest.approx(2.0 * SIDE)


@pytest.mark.parametrize("clip", ["hdtf-RD_Radio34_000.mp4", "hdtf-WDA_KatieHill_000.mp4"])
def test_a_filmed_face_both_ways(data_folder: Path, clip: str) -> None:
    """The tracker reads the transplanted lips as what they are."""
    pictures = list(read_rgb(data_folder / "clips" / clip))[:100]
    with MediaPipeTracker() as tracker:
        faces = [tracker.track(picture, 40 * n) for n, picture in enumerate(pictures)]
        found = [(n, face) for n, face in enumerate(faces) if face is not None]
    rest = min(found, key=lambda one: aperture(one[1]))
    near = [one for one in found if misfit(rest[1].landmarks, one[1].landmarks) < 0.05]
    talk = max(near, key=lambda one: aperture(one[1]))
    opened = transplant(pictures[rest[0]], rest[1].landmarks, pictures[talk[0]], talk[1].landmarks)
    closed = transplant(pictures[talk[0]], talk[1].landmarks, pictures[rest[0]], rest[1].landmarks)
    read: list[Face] = []
    for picture in (opened, closed):
        with MediaPipeTracker() as tracker:  # afresh: it follows the face it saw before
            face = tracker.track(picture, 0)
            assert face is not None
            read.append(face)
    assert aperture(talk[1]) > 0.03
    assert aperture(read[0]) == pytest.approx(aperture(talk[1]), rel=0.35)
    assert aperture(read[1]) < 0.3 * aperture(talk[1])
