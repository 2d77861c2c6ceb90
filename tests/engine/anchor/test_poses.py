"""What looks alike: the distance between poses."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.card import AvatarCard, Clip
from engine.anchor.crop import Crop, Picture, crop_from_landmarks, mouth_outline
from engine.anchor.package import Avatar
from engine.anchor.poses import find_poses, squared_distances
from engine.picture.yuv import to_i420
from tests.fakes import FRAME_SIZE, FRAMES, fake_landmarks, paint_face

WIDTH, HEIGHT = FRAME_SIZE
CROP = crop_from_landmarks(fake_landmarks(WIDTH, HEIGHT))
OUTLINE = tuple(float(value) for value in mouth_outline(fake_landmarks(WIDTH, HEIGHT), CROP).ravel())
PICTURE = paint_face(WIDTH, HEIGHT)


def card_of(avatar: Avatar, crops: list[Crop], outlined: bool = True) -> AvatarCard:
    outlines = (OUTLINE,) * len(crops) if outlined else ()
    clip = Clip("idle", "idle", "anchor.mp4", "pingpong", tuple(crops), outlines, (1.0,) * len(crops))
    return replace(avatar.card, clips=(clip,))


def distance(avatar: Avatar, crops: list[Crop], pictures: list[Picture], outlined: bool = True) -> float:
    """Between the first two."""
    poses = find_poses(card_of(avatar, crops, outlined), [to_i420(picture) for picture in pictures])
    return float(np.sqrt(squared_distances(poses[:1], poses[1:])[0, 0]))


def test_the_same_pose_is_no_distance_and_ways_back_are_as_long(avatar: Avatar) -> None:
    frames = [avatar.frame(number) for number in range(FRAMES)]
    poses = find_poses(avatar.card, frames)
    apart = squared_distances(poses, poses)
    assert apart.shape == (FRAMES, FRAMES)
    np.testing.assert_allclose(apart, apart.T, atol=1e-8)
    np.testing.assert_allclose(np.diag(apart), 0, atol=1e-8)
    by_hand = ((poses[2] - poses[7]) ** 2).sum()
    assert apart[2, 7] == pytest.approx(by_hand, rel=1e-3, abs=1e-9)


def test_distances_are_never_negative() -> None:
    poses = np.random.default_rng(0).normal(1000, 1e-4, (200, 30)).astype(np.float32)
    assert squared_distances(poses, poses).min() >= 0


@pytest.mark.parametrize("outlined", [True, False])
def test_a_face_moved_by_a_tenth_of_the_crop_is_a_tenth_away(avatar: Avatar, outlined: bool) -> None:
    aside = replace(CROP, cx=CROP.cx + 0.1 * CROP.size)
    assert distance(avatar, [CROP, aside], [PICTURE] * 2, outlined) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    "other", [replace(CROP, size=1.2 * CROP.size), replace(CROP, angle=0.2)], ids=["nearer", "turned"]
)
def test_size_and_angle_count(avatar: Avatar, other: Crop) -> None:
    assert distance(avatar, [CROP, other], [PICTURE] * 2) > 0.04


def test_a_turned_square_is_where_its_corners_are(avatar: Avatar) -> None:
    """Clockwise on the screen, as the crop says: the outline is brought back to where landmarks were."""
    landmarks = fake_landmarks(WIDTH, HEIGHT)
    turned = replace(CROP, angle=0.3)
    there = tuple(float(value) for value in mouth_outline(landmarks, turned).ravel())
    card = card_of(avatar, [CROP, turned])
    clip = replace(card.clips[0], outlines=(OUTLINE, there))
    both = find_poses(replace(card, clips=(clip,)), [to_i420(PICTURE)] * 2)
    apart = (both[0] - both[1])[8 : 8 + len(OUTLINE)]  # behind the four corners
    assert np.abs(apart).max() < 1e-4


def test_closed_eyes_are_not_open_eyes(avatar: Avatar) -> None:
    awake = PICTURE.copy()
    for x in (0.39, 0.61):
        cv2.circle(awake, (round(x * WIDTH), round(0.35 * HEIGHT)), 4, (20, 20, 20), -1)
    moved = replace(CROP, cx=CROP.cx + 0.005 * CROP.size)
    assert distance(avatar, [CROP] * 2, [PICTURE, awake]) > distance(avatar, [CROP, moved], [PICTURE] * 2)


def test_another_picture_is_another_pose(avatar: Avatar) -> None:
    other = PICTURE.copy()
    other[: HEIGHT // 2] //= 2
    assert distance(avatar, [CROP] * 2, [PICTURE, other]) > 0.02


def test_a_crop_beside_the_picture_has_a_pose_too(avatar: Avatar) -> None:
    outside = replace(CROP, cx=-200.0, cy=900.0)
    assert np.isfinite(distance(avatar, [CROP, outside], [PICTURE] * 2))


def test_an_avatar_knows_its_poses_once(avatar_folder: Path) -> None:
    loaded = Avatar.load(avatar_folder)
    assert loaded.poses is loaded.poses
    assert len(loaded.poses) == FRAMES
