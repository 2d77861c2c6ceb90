"""The canonical face, and how a head is turned."""

import numpy as np
import pytest

from engine.anchor.canonical import RIGID, canonical_faces, head_pose
from engine.anchor.crop import crop_from_landmarks
from tests.turned_faces import turned_face


def test_the_table_is_a_face_between_the_eyes() -> None:
    closed, opened = canonical_faces()
    assert canonical_faces().shape == (2, 478, 3)
    right, left = closed[[33, 133]].mean(axis=0), closed[[362, 263]].mean(axis=0)
    np.testing.assert_allclose(left - right, [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(left + right, [0, 0, 0], atol=0.02)
    assert closed[4, 2] < closed[168, 2] < closed[127, 2], "the nose's tip is nearest, the temples far"
    assert closed[10, 1] < 0 < closed[4, 1] < closed[152, 1], "forehead, eyes, nose, chin"
    assert np.linalg.norm(closed[13] - closed[14]) < 0.05
    assert np.linalg.norm(opened[13] - opened[14]) > 0.3
    assert np.abs(closed[list(RIGID)] - opened[list(RIGID)]).max() < 0.1, "what is rigid does not open"


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        canonical_faces()[0, 0, 0] = 1


@pytest.mark.parametrize("yaw", [-40, -15, 0, 10, 35])
@pytest.mark.parametrize("pitch", [-25, 0, 20])
@pytest.mark.parametrize("roll", [-20, 0, 30])
def test_known_turns_are_read_back(yaw: float, pitch: float, roll: float) -> None:
    pose = head_pose(turned_face(yaw=yaw, pitch=pitch, roll=roll))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=0.1)


def test_signs_are_those_of_the_picture() -> None:
    straight, aside, up = turned_face(), turned_face(yaw=20), turned_face(pitch=20)
    assert aside[4, 0] > straight[4, 0] + 5, "the nose goes right"
    assert up[4, 1] < straight[4, 1] - 5, "the nose goes up"
    lean = turned_face(roll=20)
    assert lean[263, 1] > lean[33, 1], "clockwise: the eye on the right sinks"
    assert crop_from_landmarks(lean).angle == pytest.approx(np.radians(20), abs=0.01)


@pytest.mark.parametrize("opening", [0.3, 1.0])
def test_an_open_mouth_turns_no_head(opening: float) -> None:
    pose = head_pose(turned_face(yaw=12, pitch=5, opening=opening))
    assert (pose.yaw, pose.pitch) == pytest.approx((12, 5), abs=4)


@pytest.mark.parametrize("yaw", [0, 25])
def test_a_camera_at_arms_length_changes_little(yaw: float) -> None:
    pose = head_pose(turned_face(yaw=yaw, distance=9))
    assert pose.yaw == pytest.approx(yaw, abs=4)
    assert pose.pitch == pytest.approx(0, abs=4)


def test_size_place_and_noise_do_not_matter() -> None:
    noise = np.random.default_rng(0).normal(0, 0.4, (478, 2)).astype(np.float32)
    small = head_pose(turned_face((1000, 900), 30, yaw=15) + noise)
    large = head_pose(turned_face((50, 20), 300, yaw=15))
    assert small.yaw == pytest.approx(large.yaw, abs=2)
