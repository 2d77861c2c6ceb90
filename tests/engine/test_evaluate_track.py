"""Tracks: one look at each video, gaps bridged, pairs that do not belong together refused."""

from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from engine.errors import BadMediaError, NoFaceError
from engine.evaluate.track import Track, check_pair, pictures, track
from tests.fakes import FakeTracker, fake_landmarks, paint_face
from tests.films import GAPES, film, write


def tracked(found: list[bool], size: tuple[int, int] = (200, 240), name: str = "film.mp4") -> Track:
    """Faces that move one pixel to the right a picture, where there are any."""
    blend = {"jawOpen": 0.0, "mouthPucker": 0.0}
    faces = [
        Face(fake_landmarks(200, 240) + np.array([k, 0], np.float32), blend) if seen else None
        for k, seen in enumerate(found)
    ]
    return Track(Path(name), size, faces)


def test_each_picture_is_tracked_once_in_time_order(tmp_path: Path) -> None:
    times: list[int] = []
    trackers: list[FakeTracker] = []

    class Watching(FakeTracker):
        def __init__(self) -> None:
            super().__init__()
            trackers.append(self)

        def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
            times.append(timestamp_ms)
            return super().track(rgb, timestamp_ms)

    found = track(film(tmp_path / "a.mp4", GAPES[:10]), Watching)
    assert times == list(range(0, 400, 40))
    assert found.size == (224, 272)
    assert all(face is not None for face in found.faces)
    assert [one.closed for one in trackers] == [True]


def test_a_tracker_is_closed_when_the_video_is_none(tmp_path: Path) -> None:
    trackers: list[FakeTracker] = []

    def new() -> FakeTracker:
        trackers.append(FakeTracker())
        return trackers[-1]

    with pytest.raises(BadMediaError):
        track(tmp_path / "gone.mp4", new)
    assert [one.closed for one in trackers] == [True]


def test_gaps_take_the_nearest_face() -> None:
    points = tracked([False, True, True, False, False, True]).landmarks()
    moved = [round(float(p[33, 0] - fake_landmarks(200, 240)[33, 0])) for p in points]
    assert moved == [1, 1, 2, 2, 5, 5]
    assert len(tracked([True] * 7).crops()) == 7


def test_no_face_at_all_is_refused() -> None:
    with pytest.raises(NoFaceError, match=r"film\.mp4 shows no face"):
        tracked([False] * 5).crops()


def test_pairs_must_agree_in_size_length_and_faces() -> None:
    good = tracked([True] * 30, name="truth.mp4")
    assert check_pair(tracked([True] * 28), good) == 28
    with pytest.raises(BadMediaError, match="differ by 3 frames after 27"):
        check_pair(tracked([True] * 27), good)
    with pytest.raises(BadMediaError, match=r"100x100 and truth\.mp4 200x240"):
        check_pair(tracked([True] * 30, size=(100, 100)), good)
    assert check_pair(tracked([False] * 3 + [True] * 27), good) == 30
    with pytest.raises(NoFaceError, match=r"film\.mp4 shows no face in 4 of 30"):
        check_pair(tracked([False] * 4 + [True] * 26), good)
    with pytest.raises(NoFaceError, match=r"truth\.mp4 shows no face in 30 of 30"):
        check_pair(good, tracked([False] * 30, name="truth.mp4"))


def test_pictures_come_side_by_side_as_long_as_all_last(tmp_path: Path) -> None:
    one = track(write(tmp_path / "a.mp4", [paint_face(64, 64)] * 5), FakeTracker)
    two = track(write(tmp_path / "b.mp4", [np.full((64, 64, 3), 9, np.uint8)] * 4), FakeTracker)
    rows = list(pictures(one, two))
    assert len(rows) == 4
    assert rows[0][1].mean() == pytest.approx(9, abs=2)
    assert rows[0][0].mean() > 30
