"""68 points become 478."""

from pathlib import Path

import numpy as np
import pytest

from engine.anchor.canonical import head_pose
from engine.anchor.crop import Points, crop_from_landmarks, mouth_outline
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.mesh_fit import MARKUP, NEIGHBOURS, mesh_from_68
from engine.picture.video import read_rgb
from tests.turned_faces import turned_face

AT = list(NEIGHBOURS)


def test_neighbours_are_different_points() -> None:
    assert len(set(NEIGHBOURS)) == MARKUP
    assert max(NEIGHBOURS) < 468, "no irises"


@pytest.mark.parametrize("opening", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (20, 0, 0), (-30, 10, 15), (0, -15, -25)])
def test_the_canonical_face_comes_back(opening: float, yaw: float, pitch: float, roll: float) -> None:
    face = turned_face(yaw=yaw, pitch=pitch, roll=roll, opening=opening)
    mesh = mesh_from_68(face[AT])
    assert mesh.shape == (478, 2)
    assert mesh.dtype == np.float32
    side = crop_from_landmarks(face).size
    assert np.linalg.norm(mesh - face, axis=1).max() < 0.03 * side


def test_the_68_stay_where_they_were_seen() -> None:
    face = turned_face(yaw=10)
    noise = np.random.default_rng(0).normal(0, 2, (MARKUP, 2)).astype(np.float32)
    seen = face[AT] + noise
    assert np.abs(mesh_from_68(seen)[AT] - seen).max() < 1, "within the noise"


def test_somebody_elses_proportions_are_kept() -> None:
    # A longer face with a wider mouth.
    face = turned_face()
    face[:, 1] = (face[:, 1] - 180) * 1.2 + 180
    mesh = mesh_from_68(face[AT])
    assert crop_from_landmarks(mesh).size == pytest.approx(crop_from_landmarks(face).size, rel=0.01)
    assert np.linalg.norm(mesh - face, axis=1).mean() < 2


def test_lips_part_without_tearing_the_chin() -> None:
    shut, wide = (mesh_from_68(turned_face(opening=opening)[AT]) for opening in (0.0, 1.0))
    gap = np.linalg.norm(wide[13] - wide[14]) - np.linalg.norm(shut[13] - shut[14])
    assert gap > 20
    # Points between the 68: the upper lip's rim stays, the lower one goes along.
    assert abs(wide[41, 1] - shut[41, 1]) < 6
    assert wide[86, 1] - shut[86, 1] > 15
    assert np.abs(wide[[168, 10, 107]] - shut[[168, 10, 107]]).max() < 4


@pytest.mark.parametrize("points", [np.zeros((5, 2), np.float32), np.zeros((68, 3), np.float32)])
def test_another_markup_is_refused(points: Points) -> None:
    with pytest.raises(ValueError, match="expected 68 landmarks"):
        mesh_from_68(points)


def test_a_point_is_no_face() -> None:
    with pytest.raises(ValueError, match="no extent"):
        mesh_from_68(np.full((68, 2), 7, np.float32))


@pytest.mark.parametrize("clip", ["hdtf-WDA_KatieHill_000.mp4", "grid-sbia1a.mpg", "musetalk-sun-silent.mp4"])
def test_real_faces_keep_crop_and_outline(data_folder: Path, clip: str) -> None:
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task") as tracker:
        for number, frame in enumerate(read_rgb(data_folder / "clips" / clip)):
            if number == 40:
                break
            face = tracker.track(frame, number * 40)
            assert face is not None
            if number % 8:
                continue
            mesh = mesh_from_68(face.landmarks[AT])
            crop, again = crop_from_landmarks(face.landmarks), crop_from_landmarks(mesh)
            assert np.hypot(crop.cx - again.cx, crop.cy - again.cy) < 0.005 * crop.size
            assert again.size == pytest.approx(crop.size, rel=0.005)
            assert again.angle == pytest.approx(crop.angle, abs=np.radians(0.3))
            away = np.linalg.norm(mouth_outline(mesh, crop) - mouth_outline(face.landmarks, crop), axis=1)
            assert away.mean() < 0.005
            assert away.max() < 0.05
            assert head_pose(mesh).yaw == pytest.approx(head_pose(face.landmarks).yaw, abs=2)
