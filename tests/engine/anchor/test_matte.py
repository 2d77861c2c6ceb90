"""Mattes: packages with and without one, damage, and pictures cut out without a rim."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.card import MATTE
from engine.anchor.matte import Mattes, MatteVideo, Plane, cut_out, find_mattes, stack
from engine.anchor.package import Avatar, find_avatar
from engine.errors import AvatarError, BadMediaError
from engine.picture.video import VideoWriter
from engine.picture.yuv import planes, to_i420, to_rgb
from tests.fakes import FRAME_SIZE, FRAMES, paint_face

WIDTH, HEIGHT = FRAME_SIZE
PERSON, WALL = (180, 120, 90), (20, 60, 160)


def disc(radius: int, at: int = 0) -> Plane:
    """A matte: a soft-edged disc, moved `at` pixels to the right."""
    fine = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    cv2.circle(fine, (2 * WIDTH + 4 * at, 2 * HEIGHT), 4 * radius, 255, -1)
    return np.asarray(cv2.resize(fine, FRAME_SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def write_matte(path: Path, mattes: list[Plane]) -> Path:
    height, width = mattes[0].shape
    with VideoWriter(path, (width, height)) as video:
        for matte in mattes:
            video.write(to_i420(np.repeat(matte[..., None], 3, axis=2)))
    return path


@pytest.fixture
def package(avatar_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(avatar_folder, tmp_path / "fake")


def test_a_package_without_a_matte_is_whole(package: Path) -> None:
    assert Avatar.load(package).mattes is None
    assert find_mattes(package, Avatar.load(package).card) is None


def test_mattes_come_back_frame_by_frame(package: Path) -> None:
    wanted = [disc(50, at=3 * k) for k in range(FRAMES)]
    write_matte(package / MATTE, wanted)
    mattes = Avatar.load(package).mattes
    assert mattes is not None
    for number in (7, 0, 9):
        found = mattes[number]
        assert found.dtype == np.uint8
        assert found.shape == (HEIGHT, WIDTH)
        assert np.abs(found.astype(int) - wanted[number]).mean() < 1.5
        differences = [np.abs(found.astype(int) - other).mean() for other in wanted]
        assert int(np.argmin(differences)) == number
    assert mattes[0].min() == 0
    assert mattes[0].max() == 255


@pytest.mark.parametrize("count", [FRAMES - 1, FRAMES + 1])
def test_a_matte_of_another_length_is_damage(package: Path, count: int) -> None:
    write_matte(package / MATTE, [disc(40)] * count)
    with pytest.raises(AvatarError, match=f"fake is damaged.*{count} pictures.*its anchor {FRAMES}"):
        Avatar.load(package)


def test_a_matte_of_another_size_is_damage(package: Path) -> None:
    write_matte(package / MATTE, [np.zeros((64, 64), np.uint8)] * FRAMES)
    with pytest.raises(AvatarError, match="64x64"):
        Avatar.load(package)


def test_a_matte_that_is_no_video_is_damage(package: Path) -> None:
    (package / MATTE).write_bytes(b"no video")
    with pytest.raises(AvatarError, match=r"fake is damaged: matte\.mp4 cannot be read"):
        Avatar.load(package)


def test_a_matte_that_breaks_off_is_damage(package: Path) -> None:
    write_matte(package / MATTE, [disc(40, k) for k in range(FRAMES)])
    mattes = Mattes(package, Avatar.load(package).card)
    content = (package / MATTE).read_bytes()
    (package / MATTE).write_bytes(content[: len(content) - 600])
    with pytest.raises(AvatarError, match="fake is damaged"):
        mattes[0]


def scene(matte: Plane) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A person of one colour before a wall of another, mixed along the matte's edge, as I420."""
    share = matte[..., None] / 255
    return to_i420(np.rint(share * PERSON + (1 - share) * WALL).astype(np.uint8))


def test_what_is_cut_out_keeps_nothing_of_the_wall() -> None:
    matte = disc(50)
    before, after = to_rgb(scene(matte)), to_rgb(cut_out(scene(matte), matte))
    seen = matte > 0
    assert np.abs(before[seen].astype(int) - PERSON).max() > 60
    assert np.abs(after[seen].astype(int) - PERSON).max() <= 4


def test_what_is_surely_the_person_stays_as_it_is() -> None:
    matte = disc(60)
    picture = to_i420(paint_face(WIDTH, HEIGHT))
    out = cut_out(picture, matte)
    inner = disc(50) == 255
    np.testing.assert_array_equal(planes(out)[0][inner], planes(picture)[0][inner])
    for drawn, own in zip(planes(out)[1:], planes(picture)[1:], strict=True):
        np.testing.assert_array_equal(drawn[inner[::2, ::2]], own[inner[::2, ::2]])


def test_each_side_gets_the_colour_next_to_it() -> None:
    matte = disc(50)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2], picture[:, WIDTH // 2 :] = (200, 40, 40), (40, 40, 200)
    out = to_rgb(cut_out(to_i420(picture), matte)).astype(int)
    left, right = out[HEIGHT // 2, WIDTH // 2 - 53], out[HEIGHT // 2, WIDTH // 2 + 53]
    assert left[0] > 150 > 80 > left[2]
    assert right[2] > 150 > 80 > right[0]


def test_a_person_at_the_picture_s_edge_is_not_eaten() -> None:
    matte = np.zeros((HEIGHT, WIDTH), np.uint8)
    matte[HEIGHT // 2 :] = 255
    picture = to_i420(paint_face(WIDTH, HEIGHT))
    out = cut_out(picture, matte)
    np.testing.assert_array_equal(planes(out)[0][-20:], planes(picture)[0][-20:])


def test_an_empty_matte_gives_a_flat_picture() -> None:
    out = cut_out(to_i420(paint_face(WIDTH, HEIGHT)), np.zeros((HEIGHT, WIDTH), np.uint8))
    assert all(np.ptp(plane) == 0 for plane in planes(out))


def test_picture_and_matte_travel_in_one() -> None:
    picture, matte = to_i420(paint_face(WIDTH, HEIGHT)), disc(50)
    both = stack(picture, matte)
    assert both.shape == (3 * HEIGHT, WIDTH)
    above, below = np.split(to_rgb(both), 2)
    np.testing.assert_array_equal(above, to_rgb(picture))
    assert np.ptp(below, axis=2).max() == 0
    assert np.abs(below[..., 0].astype(int) - matte).max() <= 2
    assert (below[..., 0].min(), below[..., 0].max()) == (0, 255)


def test_a_matte_video_is_brought_to_size_and_found_by_its_time(tmp_path: Path) -> None:
    wanted = [disc(60, at=k) for k in range(26)]
    double = [np.repeat(np.repeat(matte, 2, axis=0), 2, axis=1) for matte in wanted]
    matter = MatteVideo(write_matte(tmp_path / "grey.mp4", double))
    picture = paint_face(WIDTH, HEIGHT)
    for number in (0, 1, 5, 25):
        found = matter.matte(picture, 40 * number)
        assert np.abs(found.astype(int) - wanted[number]).mean() < 2


@pytest.mark.parametrize(
    ("matte", "at", "why"),
    [
        (disc(50), 400, r"grey\.mp4 ends before its video, after 0\.40 s"),
        (disc(50).T.copy(), 0, "same shape"),
    ],
)
def test_a_matte_video_that_does_not_fit_is_told(tmp_path: Path, matte: Plane, at: int, why: str) -> None:
    matter = MatteVideo(write_matte(tmp_path / "grey.mp4", [matte] * 10))
    with pytest.raises(AvatarError, match=why):
        matter.matte(paint_face(WIDTH, HEIGHT), at)


def test_a_missing_matte_video_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="no video file"):
        MatteVideo(tmp_path / "none.mp4").matte(paint_face(WIDTH, HEIGHT), 0)


@pytest.mark.parametrize("name", ["ada", "kai"])
def test_the_shipped_mattes_fit_their_presenters(name: str) -> None:
    avatar = Avatar.load(find_avatar(name))
    assert avatar.mattes is not None
    rises = []
    for number in range(0, avatar.frames, 25):
        matte = avatar.mattes[number]
        assert 0.4 < (matte > 127).mean() < 0.6
        crop = avatar.card.crops[number]
        assert matte[round(crop.cy), round(crop.cx)] == 255
        assert matte[:40].max() < 8
        # The picture changes most where the matte does: shifted by two pixels it would not.
        luma = planes(avatar.frame(number))[0].astype(int)
        change = np.abs(np.diff(luma[:400], axis=1))
        edges = [
            np.abs(np.diff(np.roll(matte[:400], shift, axis=1).astype(int), axis=1)) > 100
            for shift in (-3, 0, 3)
        ]
        rises.append([float(change[edge].mean()) for edge in edges])
    before, at, after = np.mean(rises, axis=0)
    assert at > 2 * max(before, after)
