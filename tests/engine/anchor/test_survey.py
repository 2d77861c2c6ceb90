"""One reading of somebody's footage."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor import survey as module
from engine.anchor.checks import check
from engine.anchor.crop import Picture, crop_from_landmarks
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.survey import MAX_FACES, THUMB, Survey, counted_faces, survey
from engine.anchor.tracker import Face
from engine.errors import BadMediaError, FootageError
from engine.picture.video import read_rgb
from engine.speech.audio import SAMPLE_RATE
from tests.fakes import FakeTracker, paint_face, room_noise, speech_like, write_sound
from tests.phone_films import write_film
from tests.turned_faces import turned_face

WIDTH, HEIGHT = 160, 192


class Painted:
    """A FacesTracker of the painted face; remembers what it was shown."""

    def __init__(self) -> None:
        self.one = FakeTracker()
        self.shapes: list[tuple[int, ...]] = []
        self.times: list[int] = []

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        self.shapes.append(rgb.shape)
        self.times.append(timestamp_ms)
        face = self.one.track(rgb, timestamp_ms)
        return [] if face is None else [face]

    def close(self) -> None:
        self.one.close()


class Played:
    """A FacesTracker that answers with given faces, one list a picture."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        return self.answers[min(timestamp_ms // 40, len(self.answers) - 1)]

    def close(self) -> None:
        pass


def face(x: float, eyes: float = 30, yaw: float = 0, jaw: float = 0.1) -> Face:
    return Face(turned_face((x, 60), eyes, yaw=yaw), {"jawOpen": jaw})


def film(path: Path, count: int = 50, *, speech: bool = True, gape: float = 0.0) -> Path:
    pictures = [paint_face(WIDTH, HEIGHT, gape=gape, seed=k) for k in range(count)]
    quiet = room_noise(count / 50)
    sound = np.concatenate([quiet, speech_like(count / 50)]) if speech else None
    return write_film(path, pictures, speech=sound)


def test_every_row_has_a_value_a_picture(tmp_path: Path) -> None:
    found = survey(film(tmp_path / "a.mp4"), Painted())
    assert len(found) == 50
    assert found.size == (WIDTH, HEIGHT)
    assert found.damage is None
    for values in (
        found.landmarks, found.jaw_open, found.yaw, found.pitch, found.faces, found.sharpness,
        found.brightness, found.contrast, found.shade, found.covered, found.loudness, found.voiced,
    ):  # fmt: skip
        assert len(values) == 50
    assert found.thumbs.shape == (50, THUMB, THUMB)
    assert (found.faces == 1).all()
    assert np.isfinite(found.yaw).all()
    assert found.source.sound


def test_the_mouths_movement_is_seen(tmp_path: Path) -> None:
    shut = survey(film(tmp_path / "a.mp4", 5), Painted()).jaw_open
    wide = survey(film(tmp_path / "b.mp4", 5, gape=0.06), Painted()).jaw_open
    assert shut.max() < wide.min()


def test_sound_lies_beside_its_pictures(tmp_path: Path) -> None:
    found = survey(film(tmp_path / "a.mp4", 100), Painted())
    assert not found.voiced[:45].any()
    assert found.voiced[55:95].mean() > 0.8
    assert np.nanmean(found.loudness[55:95]) > np.nanmean(found.loudness[5:45]) + 15


def test_silent_film_has_no_loudness(tmp_path: Path) -> None:
    found = survey(film(tmp_path / "a.mp4", speech=False), Painted())
    assert np.isnan(found.loudness).all()
    assert not found.voiced.any()


def test_a_sound_track_that_ends_early_leaves_the_rest_open(tmp_path: Path) -> None:
    pictures = [paint_face(WIDTH, HEIGHT, seed=k) for k in range(75)]
    found = survey(write_film(tmp_path / "a.mp4", pictures, speech=speech_like(1.0)), Painted())
    assert np.isfinite(found.loudness[:24]).all()
    assert np.isnan(found.loudness[30:]).all()
    assert not found.voiced[40:].any()


def test_pictures_without_a_face_are_nan(tmp_path: Path) -> None:
    empty = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    pictures = [paint_face(WIDTH, HEIGHT, seed=k) for k in range(10)] + [empty] * 5
    found = survey(write_film(tmp_path / "a.mp4", pictures), Painted())
    assert found.landmarks[10:] == [None] * 5
    assert (found.faces[10:] == 0).all()
    for values in (found.jaw_open, found.yaw, found.sharpness, found.brightness, found.shade, found.covered):
        assert np.isfinite(values[:10]).all()
        assert np.isnan(values[10:]).all()


def test_a_film_without_any_face_is_still_surveyed(tmp_path: Path) -> None:
    dark = [np.full((HEIGHT, WIDTH, 3), 60, np.uint8)] * 30
    found = survey(write_film(tmp_path / "a.mp4", dark), Painted())
    assert check(found)[0].code == "no-face"


def test_light_blur_and_shade_are_those_of_the_face(tmp_path: Path) -> None:
    def measured(name: str, picture: Picture) -> Survey:
        return survey(write_film(tmp_path / name, [picture] * 3), Played([face(80)]))

    plain = paint_face(WIDTH, HEIGHT)
    usual = measured("a.mp4", plain)
    assert measured("b.mp4", plain // 3).brightness[0] < 0.5 * usual.brightness[0]
    blurred = np.asarray(cv2.GaussianBlur(plain, (0, 0), 5), np.uint8)
    assert measured("c.mp4", blurred).sharpness[0] < 0.3 * usual.sharpness[0]
    half = plain.copy()
    half[:, : WIDTH // 2] //= 4
    assert measured("d.mp4", half).shade[0] > 2.5
    assert usual.shade[0] < 1.2


def test_the_presenter_is_the_largest_and_stays_the_same(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 4, speech=False)
    found = survey(
        clip,
        Played(
            [face(50, 24), face(110, 30)],
            [face(50, 31), face(110, 30)],  # the neighbour leans forward
            [face(110, 30), face(50, 33)],
            [face(50, 33)],  # the presenter has left
        ),
    )
    middles = [float(points[168, 0]) for points in found.landmarks if points is not None]
    assert middles == pytest.approx([110, 110, 110, 50], abs=3)
    assert found.faces.tolist() == [2, 2, 2, 1]


def test_background_and_nonsense_do_not_count() -> None:
    flat = Face(np.zeros((478, 2), np.float32), {})
    counted = counted_faces([face(50, 10), face(100, 30), flat, face(30, 20)])
    sizes = [crop.size for crop, _ in counted]
    assert len(sizes) == 2
    assert sizes == sorted(sizes, reverse=True)
    assert counted_faces([]) == counted_faces([flat]) == []


def test_turns_are_measured(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 2, speech=False)
    found = survey(clip, Played([face(80, yaw=22)], [face(80, yaw=-22)]))
    assert found.yaw.tolist() == pytest.approx([22, -22], abs=0.5)


def test_large_films_are_shrunk_and_points_fit_the_working_picture(tmp_path: Path) -> None:
    pictures = [paint_face(2 * WIDTH, 2 * HEIGHT)] * 3
    tracker = Painted()
    found = survey(write_film(tmp_path / "a.mp4", pictures), tracker, max_side=HEIGHT)
    assert found.size == (WIDTH, HEIGHT)
    assert tracker.shapes == [(HEIGHT, WIDTH, 3)] * 3
    assert next(read_rgb(tmp_path / "a.mp4", HEIGHT)).shape == (HEIGHT, WIDTH, 3)
    points = found.landmarks[0]
    assert points is not None
    assert crop_from_landmarks(points).cx == pytest.approx(WIDTH / 2, abs=3)


def test_progress_and_growing_timestamps(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    tracker = Painted()
    survey(film(tmp_path / "a.mp4", 20, speech=False), tracker, lambda *step: told.append(step))
    assert told == [("look", number, 20) for number in range(1, 21)]
    assert tracker.times == [40 * number for number in range(20)]
    assert not tracker.one.closed, "it belongs to the caller"


def test_a_file_that_does_not_tell_its_length(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    pictures = [paint_face(WIDTH, HEIGHT, seed=k) for k in range(5)]
    clip = write_film(tmp_path / "a.h264", pictures, container_format="h264")
    survey(clip, Painted(), lambda *step: told.append(step))
    assert told == [("look", number, 0) for number in range(1, 6)]


def test_only_the_beginning_of_a_long_film_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 1)
    told: list[int] = []
    found = survey(film(tmp_path / "a.mp4", 50), Painted(), lambda step, done, total: told.append(total))
    assert len(found) == len(found.loudness) == 25
    assert told[-1] == 25


def test_a_file_that_breaks_off_keeps_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, max_side: int) -> object:
        yield from islice(read_rgb(path, max_side), 7)
        raise BadMediaError("a.mp4 cannot be read as a video.")

    monkeypatch.setattr(module, "read_rgb", broken)
    found = survey(film(tmp_path / "a.mp4"), Painted())
    assert (len(found), found.damage) == (7, "a.mp4 cannot be read as a video.")
    assert "broken-off" in [finding.code for finding in check(found)]


@pytest.mark.parametrize(("content", "code"), [(b"", "unreadable"), (b"hello\n" * 99, "unreadable")])
def test_what_is_no_video_is_a_finding(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(FootageError, match=r"a\.mp4") as refused:
        survey(path, Painted())
    assert [(finding.code, finding.severity) for finding in refused.value.findings] == [(code, "problem")]


def test_sound_alone_is_a_finding(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", speech_like(1.0), SAMPLE_RATE)
    with pytest.raises(FootageError, match="holds no picture") as refused:
        survey(path, Painted())
    assert refused.value.findings[0].code == "no-picture"


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="There is no video file"):
        survey(tmp_path / "gone.mp4", Painted())


def test_a_filmed_person(data_folder: Path) -> None:
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task", faces=MAX_FACES) as tracker:
        found = survey(data_folder / "clips" / "grid-bbaf2n.mpg", tracker)
    assert len(found) == 75
    assert (found.faces == 1).all()
    assert np.abs(found.yaw).max() < 12
    assert np.nanmax(found.covered) < 0.5
    assert 0.4 < found.voiced.mean() < 0.9
    assert found.jaw_open[found.voiced].mean() > found.jaw_open[~found.voiced].mean()
    codes = {finding.code: finding.severity for finding in check(found)}
    assert codes.pop("too-short") == "problem"
    assert "problem" not in codes.values()


def test_a_film_turned_by_the_phone_is_seen_upright(data_folder: Path, tmp_path: Path) -> None:
    frames = list(islice(read_rgb(data_folder / "clips" / "grid-bbaf2n.mpg"), 6))
    stored = [np.rot90(frame) for frame in frames]
    upright = write_film(tmp_path / "a.mp4", stored, turn=-90)
    lying = write_film(tmp_path / "b.mp4", stored)
    model = data_folder / "models" / "face_landmarker.task"
    with MediaPipeTracker(model) as tracker:
        found = survey(upright, tracker)
    assert found.size == (360, 288)
    points = found.landmarks[-1]
    assert points is not None
    assert abs(crop_from_landmarks(points).angle) < 0.2
    assert found.source.rotation == 90
    with MediaPipeTracker(model) as tracker:
        codes = [finding.code for finding in check(survey(lying, tracker))]
    assert "sideways" in codes or "no-face" in codes


def test_two_persons_are_seen(data_folder: Path, tmp_path: Path) -> None:
    left, right = (
        list(islice(read_rgb(data_folder / "clips" / name), 30))
        for name in ("grid-bbaf2n.mpg", "grid-lbax4n.mpg")
    )
    both = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task", faces=MAX_FACES) as tracker:
        found = survey(write_film(tmp_path / "a.mp4", both), tracker)
    assert (found.faces[2:] == 2).all()
    assert {finding.code: finding.severity for finding in check(found)}["two-faces"] == "problem"
