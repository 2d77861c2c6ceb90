"""Who is who."""

from pathlib import Path

import numpy as np
import pytest

from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.errors import MissingToolError
from engine.picture.video import read_rgb
from tests.fakes import fake_landmarks, paint_face
from tests.training.preprocess.footage import HEIGHT, WIDTH
from training.preprocess.dlib_embedder import DlibEmbedder, installed_weights
from training.preprocess.embedder import FaceEmbedder, Vector, aligned
from training.preprocess.faces import watch
from training.preprocess.hog_embedder import HogEmbedder
from training.preprocess.persons import group, make_embedder, moments

POINTS = fake_landmarks(WIDTH, HEIGHT)[[263, 362, 33, 133, 2]]


def cloud(*counts: int, seed: int = 0) -> list[Vector]:
    """Vectors around far centres, so many around each."""
    random = np.random.default_rng(seed)
    centres = np.eye(16)[: len(counts)]
    return [
        np.asarray(centre + random.normal(0, 0.05, 16), np.float32)
        for centre, count in zip(centres, counts, strict=True)
        for _ in range(count)
    ]


def test_near_vectors_are_one_person_numbered_by_appearance() -> None:
    assert group(cloud(3, 1, 2), 0.6) == [1, 1, 1, 2, 3, 3]
    assert group([], 0.6) == []
    assert group(cloud(1), 0.6) == [1]
    assert group(cloud(1, 1), 5.0) == [1, 1]


def test_who_belongs_together_does_not_depend_on_order() -> None:
    vectors = cloud(4, 3, 2, 5, seed=2)
    straight = group(vectors, 0.6)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(vectors))
        mixed = group([vectors[k] for k in order], 0.6)
        pairs = {(straight[k], number) for k, number in zip(order, mixed, strict=True)}
        assert len(pairs) == 4
        assert mixed[0] == 1
        first = [mixed.index(number) for number in range(1, 5)]
        assert first == sorted(first)


@pytest.mark.parametrize("frames", [1, 2, 5, 50, 250])
def test_moments_lie_within_the_clip(frames: int) -> None:
    chosen = moments(frames)
    assert chosen == sorted(set(chosen))
    assert 0 <= chosen[0] <= chosen[-1] < frames
    assert frames < 10 or len(chosen) == 5


def test_alignment_brings_the_points_to_their_places() -> None:
    frame = np.zeros((240, 240, 3), np.uint8)
    places = np.array([[0.8, 0.3], [0.6, 0.3], [0.2, 0.3], [0.4, 0.3], [0.5, 0.6]], np.float32)
    turn = np.array([[0.9, -0.3], [0.3, 0.9]], np.float32)
    points = np.asarray((places * 100) @ turn.T + 70, np.float32)
    for x, y in points:
        frame[round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3] = 255
    chip = aligned(frame, points, places, 100)
    assert chip.shape == (100, 100, 3)
    for x, y in places * 100:
        assert chip[round(float(y)), round(float(x))].min() > 150
    with pytest.raises(ValueError, match="on one another"):
        aligned(frame, np.zeros((5, 2), np.float32), places, 100)


def test_the_plain_measure_knows_a_face_again_under_other_light_and_size() -> None:
    embedder = HogEmbedder()
    face = paint_face(WIDTH, HEIGHT)
    vector = embedder.embed(face, POINTS)
    assert vector.shape == (576,)
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-3)
    darker = np.asarray(face * 0.7, np.uint8)
    larger = np.asarray(np.kron(face, np.ones((2, 2, 1))), np.uint8)
    assert float(np.linalg.norm(embedder.embed(darker, POINTS) - vector)) < embedder.threshold
    assert float(np.linalg.norm(embedder.embed(larger, POINTS * 2) - vector)) < embedder.threshold
    other = np.random.default_rng(0).integers(0, 255, face.shape, dtype=np.uint8)
    assert float(np.linalg.norm(embedder.embed(other, POINTS) - vector)) > embedder.threshold


def test_embedders_have_names() -> None:
    assert make_embedder("hog").name == "hog"
    with pytest.raises(ValueError, match="no embedder"):
        make_embedder("nobody")


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="face_recognition_models"):
        installed_weights()


@pytest.mark.parametrize("name", ["dlib", "hog"])
def test_real_persons_are_told_apart(data_folder: Path, name: str) -> None:
    if name == "dlib":
        pytest.importorskip("dlib")
    embedder: FaceEmbedder = make_embedder(name)
    vectors = []
    for clip in ("grid-bbaf2n", "grid-lbax4n", "grid-sbia1a"):
        frames = list(read_rgb(data_folder / "clips" / f"{clip}.mpg"))
        with MediaPipeTracker(data_folder / "models" / "face_landmarker.task") as tracker:
            table, _ = watch(frames, tracker)
        for part in (range(0, 8, 2), range(60, 68, 2)):
            found = [embedder.embed(frames[index], table["points"][index]) for index in part]
            vectors.append(np.asarray(np.mean(found, axis=0), np.float32))
    assert group(vectors, embedder.threshold) == [1, 1, 2, 2, 3, 3]
    assert isinstance(embedder, DlibEmbedder) == (name == "dlib")
