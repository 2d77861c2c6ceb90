"""One clip out of surveyed footage: its pictures, faded, changed and scaled, and what is known of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.card import Clip
from engine.anchor.crop import Crop, Picture
from engine.anchor.face_track import FaceTrack
from engine.anchor.loops import FADE, IdleLoop
from engine.anchor.matte import Plane
from engine.anchor.prepare import Cut, film_clip, loop_cut, whole_cut
from engine.errors import BadMediaError
from engine.picture.video import read_i420, read_rgb
from engine.picture.yuv import planes
from tests.films import write
from tests.turned_faces import turned_face

SIZE = (96, 64)
COUNT = 40
TEMPLATE = Clip("idle", "idle", "anchor.mp4", "forward", (), (), ())
WAVE = Clip("wave", "gesture", "clips/wave.mp4", "once", (), (), ())


def level(number: int) -> int:
    return 30 + 5 * number


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Picture k is grey of `level(k)`."""
    pictures = [np.full((SIZE[1], SIZE[0], 3), level(k), np.uint8) for k in range(COUNT)]
    return write(tmp_path / "footage.mp4", pictures)


def track(first: int, last: int) -> FaceTrack:
    """Number k's square is k pixels to the right, its share and outline tell k too."""
    numbers = range(first, last)
    crops = [Crop(20.0 + k, 30.0, 24.0, 0.001 * k) for k in numbers]
    outlines = np.array([[k / 100] * 36 for k in numbers], np.float32)
    shares = np.array([k / COUNT for k in numbers], np.float32)
    return FaceTrack([turned_face()] * len(numbers), crops, crops, outlines, shares)


def levels(path: Path) -> list[float]:
    return [float(picture.mean()) for picture in read_rgb(path)]


class Half:
    """A Matter that is told when it is asked, and sees a person in the left half."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def matte(self, rgb: Picture, timestamp_ms: int) -> Plane:
        self.asked.append(timestamp_ms)
        matte = np.zeros(rgb.shape[:2], np.uint8)
        matte[:, : rgb.shape[1] // 2] = 255
        return matte


def test_a_stretch_is_written_as_it_is(tmp_path: Path, footage: Path) -> None:
    told: list[tuple[str, int, int]] = []
    clip = film_clip(
        tmp_path,
        TEMPLATE,
        footage,
        SIZE,
        whole_cut(5, 15),
        track(5, 15),
        tell=lambda *step: told.append(step),
    )
    np.testing.assert_allclose(levels(tmp_path / "anchor.mp4"), [level(k) for k in range(5, 15)], atol=2.5)
    assert (clip.name, clip.kind, clip.file, clip.loop, clip.frames) == (
        "idle",
        "idle",
        "anchor.mp4",
        "forward",
        10,
    )
    np.testing.assert_allclose([crop.cx for crop in clip.crops], [20 + k for k in range(5, 15)])
    np.testing.assert_allclose(clip.shares, [k / COUNT for k in range(5, 15)])
    assert told == [("film", k, 10) for k in range(1, 11)]
    assert not (tmp_path / "matte.mp4").exists()


def test_the_end_of_a_forward_loop_becomes_its_beginning(tmp_path: Path, footage: Path) -> None:
    loop = IdleLoop(12, 36, "forward", FADE, False, 0.1, 0.1, 1.0)
    cut = loop_cut(loop)
    assert cut.start == 2
    clip = film_clip(tmp_path, TEMPLATE, footage, SIZE, cut, track(2, 36))
    shown = levels(tmp_path / "anchor.mp4")
    assert len(shown) == clip.frames == 24
    np.testing.assert_allclose(shown[:14], [level(k) for k in range(12, 26)], atol=2.5)
    # After the last picture comes picture 12: it is nearly picture 11 that is shown there.
    assert shown[-1] == pytest.approx(level(11), abs=4)
    # Step by step: from 5 levels up to what the fade needs to come back, never a jump.
    ring = np.diff([*shown, shown[0]])
    assert np.abs(ring).max() < 25
    # What is known of a picture is mixed as the picture is.
    wanted = [20 + (value - 30) / 5 for value in shown]
    np.testing.assert_allclose([crop.cx for crop in clip.crops], wanted, atol=0.6)
    np.testing.assert_allclose([share * COUNT for share in clip.shares], np.array(wanted) - 20, atol=0.6)
    np.testing.assert_allclose(
        [outline[0] * 100 for outline in clip.outlines], np.array(wanted) - 20, atol=0.6
    )


def test_a_ping_pong_has_no_fade() -> None:
    cut = loop_cut(IdleLoop(3, 9, "pingpong", 0, False, 0.1, 0.1, 1.0))
    assert cut == whole_cut(3, 9)
    assert cut.start == 3


def test_mattes_are_made_of_what_is_shown_and_faded_alike(tmp_path: Path, footage: Path) -> None:
    matter = Half()
    cut = loop_cut(IdleLoop(12, 36, "forward", FADE, False, 0.1, 0.1, 1.0))
    film_clip(tmp_path, TEMPLATE, footage, SIZE, cut, track(2, 36), matter=matter)
    assert matter.asked == [40 * k for k in range(2, 36)]
    mattes = [planes(frame)[0] for frame in read_i420(tmp_path / "matte.mp4")]
    assert len(mattes) == 24
    for matte in mattes:
        assert matte[:, :40].min() > 225
        assert matte[:, 56:].max() < 25


def test_a_retouch_is_told_which_picture_it_is(tmp_path: Path, footage: Path) -> None:
    seen: list[int] = []

    def darker(number: int, picture: Picture) -> Picture:
        seen.append(number)
        assert picture.mean() == pytest.approx(level(number), abs=2.5)
        return picture // 2

    film_clip(tmp_path, TEMPLATE, footage, SIZE, whole_cut(10, 14), track(10, 14), retouch=darker)
    assert seen == [10, 11, 12, 13]
    np.testing.assert_allclose(levels(tmp_path / "anchor.mp4"), [level(k) / 2 for k in seen], atol=2)


def test_a_clip_is_scaled_into_the_avatars_size(tmp_path: Path, footage: Path) -> None:
    matter = Half()
    clip = film_clip(
        tmp_path, WAVE, footage, SIZE, whole_cut(0, 4), track(0, 4), canvas=(192, 128), matter=matter
    )
    picture = next(read_rgb(tmp_path / "clips" / "wave.mp4"))
    assert picture.shape == (128, 192, 3)
    assert clip.crops[1].cx == pytest.approx(42)
    assert clip.crops[1].size == pytest.approx(48)
    assert next(read_rgb(tmp_path / "clips" / "wave.matte.mp4")).shape == (128, 192, 3)


def test_pictures_beyond_the_film_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError):
        film_clip(tmp_path, TEMPLATE, tmp_path / "none.mp4", SIZE, whole_cut(0, 4), track(0, 4))
    assert not (tmp_path / "anchor.mp4").exists()


def test_a_cut_knows_its_earliest_picture() -> None:
    cut = Cut((5, 6), (5, 2), (0.0, 0.5))
    assert cut.start == 2
    assert replace(cut, others=(5, 6)).start == 5
