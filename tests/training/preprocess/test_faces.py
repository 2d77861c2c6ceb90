"""What a picture's row says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Picture, crop_from_landmarks
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.tracker import Face
from engine.errors import BadMediaError
from engine.picture.video import read_rgb
from tests.fakes import FRAME_SIZE, fake_landmarks, paint_face
from tests.training.preprocess.footage import HEIGHT, WIDTH, FakeFaces, faces, syllables
from tests.turned_faces import turned_face
from training.clips import lip_centre, padded
from training.preprocess import faces as module
from training.preprocess.faces import ROW, SceneCuts, crop_at, lips_at, watch


class Sizes:
    """A tracker that finds faces of given sizes and turns, whatever it sees."""

    def __init__(self, *sizes: float, yaw: float | None = None) -> None:
        self.sizes = sizes
        self.yaw = yaw
        self.seen: list[tuple[int, ...]] = []
        self.times: list[int] = []

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        self.seen.append(rgb.shape)
        self.times.append(timestamp_ms)
        found = []
        for size in self.sizes:
            points = fake_landmarks(WIDTH, HEIGHT)
            if self.yaw is not None:
                points = turned_face((WIDTH / 2, HEIGHT / 3), 40, yaw=self.yaw)
            found.append(Face(points * np.float32(size), {}))
        return found

    def close(self) -> None:
        pass


def test_rows_hold_what_the_face_shows() -> None:
    curve = syllables(20)
    pictures = faces(curve)
    table, damage = watch(pictures, FakeFaces())
    assert damage is None
    assert (table.dtype, len(table)) == (ROW, 20)
    assert table["faces"].tolist() == [1] * 20
    assert not table["cut"].any()
    points = fake_landmarks(WIDTH, HEIGHT)
    crop = crop_from_landmarks(points)
    assert crop_at(table, 3).size == pytest.approx(crop.size, rel=0.01)
    np.testing.assert_allclose(table["points"][3][4], points[2])
    wide = padded(crop_at(table, 3))
    assert lips_at(table, 3, wide) == pytest.approx(lip_centre(points, wide), abs=0.01)
    assert float(np.corrcoef(table["gape"], curve)[0, 1]) > 0.9
    assert (table["sharpness"] > 5).all()


def test_pictures_without_a_face_stay_empty() -> None:
    table, _ = watch([np.full((HEIGHT, WIDTH, 3), 30, np.uint8)] * 3, FakeFaces())
    assert table["faces"].tolist() == [0, 0, 0]
    assert (table["crop"] == 0).all()


def test_small_faces_are_background_and_large_ones_count() -> None:
    frame = [paint_face(WIDTH, HEIGHT)]
    assert watch(frame, Sizes(1.0, 0.4))[0]["faces"][0] == 1
    assert watch(frame, Sizes(0.6, 1.0))[0]["faces"][0] == 2
    assert watch(frame, Sizes(0.9, 1.0, 0.8))[0]["faces"][0] == 3
    largest = watch(frame, Sizes(0.6, 1.0))[0]["crop"][0, 2]
    assert largest == watch(frame, Sizes(1.0))[0]["crop"][0, 2]


@pytest.mark.parametrize("yaw", [0, 25, -25, 60])
def test_a_turned_head_is_known(yaw: float) -> None:
    table, _ = watch([paint_face(WIDTH, HEIGHT)], Sizes(1.0, yaw=yaw))
    assert table["yaw"][0] == pytest.approx(yaw, abs=0.5)


def test_timestamps_grow_and_large_pictures_are_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRACKED", 120)
    tracker = Sizes(0.5)
    table, _ = watch([paint_face(WIDTH, HEIGHT)] * 3, tracker)
    assert tracker.times == [0, 40, 80]
    assert tracker.seen[0] == (120, 104, 3)
    # Points come back in pixels of the picture as it is.
    assert table["crop"][0, 2] == pytest.approx(
        crop_from_landmarks(fake_landmarks(WIDTH, HEIGHT)).size, rel=0.01
    )


def test_scene_changes_are_marked_where_they_are() -> None:
    red, blue = (np.zeros((90, 120, 3), np.uint8) for _ in range(2))
    red[:, :, 0], blue[:, :, 2] = 200, 250
    scenes = SceneCuts()
    found = [cut for frame in [red] * 30 + [blue] * 30 for cut in scenes.push(frame)]
    assert found == [30]
    dim = [np.full((90, 120, 3), 100 + k // 4, np.uint8) for k in range(60)]
    scenes = SceneCuts()
    assert [cut for frame in dim for cut in scenes.push(frame)] == []
    dark = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    table, _ = watch([paint_face(WIDTH, HEIGHT)] * 20 + [dark] * 20, FakeFaces())
    assert np.flatnonzero(table["cut"]).tolist() == [20]


def test_a_file_that_breaks_off_keeps_what_came_before() -> None:
    def broken(count: int) -> Iterator[Picture]:
        yield from [paint_face(WIDTH, HEIGHT)] * count
        raise BadMediaError("a.mp4 cannot be read")

    table, damage = watch(broken(7), FakeFaces())
    assert (len(table), damage) == (7, "a.mp4 cannot be read")
    with pytest.raises(BadMediaError):
        watch(broken(0), FakeFaces())


def test_long_footage_is_held_in_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 16)
    told: list[int] = []
    frame = paint_face(*FRAME_SIZE)
    table, _ = watch((frame for _ in range(50)), FakeFaces(), told.append)
    assert len(table) == 50
    assert told == list(range(1, 51))
    assert (table["faces"] == 1).all()
    assert ROW.itemsize < 128  # four hours are 46 MB


def test_real_faces(data_folder: Path) -> None:
    left = list(read_rgb(data_folder / "clips" / "grid-bbaf2n.mpg"))[:8]
    right = list(read_rgb(data_folder / "clips" / "grid-lbax4n.mpg"))[:8]
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task", faces=3) as tracker:
        alone, _ = watch(left, tracker)
    assert (alone["faces"] == 1).all()
    assert (np.abs(alone["yaw"]) < 12).all()
    both = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task", faces=3) as tracker:
        table, _ = watch(both, tracker)
    assert (table["faces"][2:] == 2).all()
