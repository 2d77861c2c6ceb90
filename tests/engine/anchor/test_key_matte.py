"""Mattes by the colour of a plain wall, against the exact ones of rendered presenters."""

from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.key_matte import KeyMatter, find_wall, key_matter
from engine.anchor.matte import Plane
from engine.anchor.package import find_avatar
from engine.picture.video import read_rgb

GREEN, BLUE, WHITE = (30, 180, 60), (30, 70, 190), (238, 238, 236)
WALLS = {"green": GREEN, "blue": BLUE, "white": WHITE, "unlit": (20, 110, 40)}


@cache
def presenter(name: str) -> tuple[Picture, Plane]:
    """A picture of a shipped presenter and its exact matte."""
    folder = find_avatar(name)
    picture, matte = (next(read_rgb(folder / file)) for file in ("anchor.mp4", "matte.mp4"))
    return picture, matte[..., 0]


def before(
    wall: tuple[int, int, int], name: str = "ada", *, uneven: bool = False, spill: bool = False
) -> Picture:
    """The presenter filmed in front of a wall: lens, noise of the sensor, and light from the wall."""
    picture, matte = presenter(name)
    height, width = matte.shape
    share = (matte / 255)[..., None]
    behind = np.ones((height, width, 3)) * wall
    if uneven:
        y, x = np.mgrid[0:height, 0:width]
        behind *= (1 - 0.18 * np.hypot(x / width - 0.4, y / height - 0.3))[..., None]
    person = picture.astype(np.float64)
    if spill:
        near = 0.25 * cv2.GaussianBlur(1 - share[..., 0], (0, 0), 25)[..., None]
        person = person * (1 - near) + near * np.array(wall)
    filmed = cv2.GaussianBlur(person * share + behind * (1 - share), (0, 0), 0.6)
    noise = np.random.default_rng(0).normal(0, 2.5, filmed.shape)
    return np.asarray(np.clip(filmed + noise, 0, 255), np.uint8)


def error(found: Plane, truth: Plane) -> tuple[float, float]:
    """Mean difference, of all and along the edge, levels of 255."""
    apart = np.abs(found.astype(int) - truth)
    box = np.ones((9, 9), np.uint8)
    edge = (cv2.dilate(truth, box).astype(int) - cv2.erode(truth, box)) > 20
    return float(apart.mean()), float(apart[edge].mean())


@pytest.mark.parametrize("name", ["ada", "kai"])
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("wall", WALLS)
def test_a_plain_wall_is_cut_away(name: str, wall: str, uneven: bool) -> None:
    picture = before(WALLS[wall], name, uneven=uneven)
    matter = key_matter([picture])
    assert matter is not None
    assert matter.coloured == (wall != "white")
    everywhere, edge = error(matter.matte(picture, 0), presenter(name)[1])
    # An unevenly lit white wall between arm and body may be taken for a white shirt, rather than the reverse.
    assert everywhere < (2.5 if wall == "white" and uneven else 0.8)
    assert edge < (30 if wall == "white" and uneven else 18)


def test_light_of_the_wall_on_the_person_is_no_hole_and_is_taken_off() -> None:
    picture = before(GREEN, spill=True)
    matter = key_matter([picture])
    assert matter is not None
    matte = matter.matte(picture, 0)
    assert error(matte, presenter("ada")[1])[0] < 1
    person = cv2.erode(presenter("ada")[1], np.ones((5, 5), np.uint8)) > 250

    def green(shown: Picture) -> NDArray[np.float64]:
        own = shown.astype(np.float64)
        return np.asarray(np.maximum(own[..., 1] - own[..., [0, 2]].max(axis=2), 0)[person], np.float64)

    clean = matter.clean(picture)
    assert green(clean).mean() < 0.6 * green(picture).mean()
    # The wall stays as it is, where nothing is cut out.
    wall = presenter("ada")[1] == 0
    wall[cv2.dilate(presenter("ada")[1], np.ones((9, 9), np.uint8)) > 0] = False
    assert np.abs(clean[wall].astype(int) - picture[wall]).mean() < 1.5


def test_a_white_wall_lights_nothing() -> None:
    picture = before(WHITE)
    matter = key_matter([picture])
    assert matter is not None
    assert matter.clean(picture) is picture


def test_what_is_behind_an_arm_stays_open() -> None:
    picture = np.full((240, 320, 3), GREEN, np.uint8)
    cv2.circle(picture, (160, 130), 90, (190, 150, 130), -1)
    cv2.circle(picture, (160, 130), 25, GREEN, -1)
    matte = KeyMatter(find_wall(picture)).matte(picture, 0)  # type: ignore[arg-type]
    assert matte[130, 160] == 0
    assert matte[130, 100] == 255


def test_white_teeth_are_no_hole() -> None:
    picture = np.full((240, 320, 3), WHITE, np.uint8)
    cv2.circle(picture, (160, 130), 90, (190, 150, 130), -1)
    cv2.circle(picture, (160, 150), 12, WHITE, -1)
    matte = KeyMatter(find_wall(picture)).matte(picture, 0)  # type: ignore[arg-type]
    assert matte[150, 160] == 255
    assert matte[10, 10] == 0


def test_specks_of_another_colour_on_the_wall_are_wall() -> None:
    picture = before(GREEN)
    picture[40:44, 60:64] = 200
    matte = key_matter([picture]).matte(picture, 0)  # type: ignore[union-attr]
    assert matte[30:50, 50:70].max() == 0


@pytest.mark.parametrize("name", ["ada", "kai"])
def test_a_grey_studio_wall_is_not_tried(name: str) -> None:
    assert find_wall(presenter(name)[0]) is None
    assert key_matter([presenter(name)[0]]) is None


def test_a_wall_with_pictures_on_it_is_not_plain() -> None:
    picture = before(GREEN)
    picture[:200, 100:300] = (200, 60, 50)
    assert find_wall(picture) is None


def test_one_picture_without_the_wall_is_enough_to_refuse() -> None:
    assert key_matter([before(GREEN), presenter("ada")[0]]) is None
    assert key_matter([]) is None


def test_a_wall_without_anybody_is_no_matte() -> None:
    assert key_matter([np.full((240, 320, 3), GREEN, np.uint8)]) is None


def test_somebody_in_the_walls_colour_is_refused() -> None:
    """A green dress before green would leave a head that floats."""
    picture = before(GREEN)
    dress = (presenter("ada")[1] > 127)[..., None] & (np.arange(720) > 350)[:, None, None]
    assert key_matter([np.where(dress, np.array((40, 165, 70), np.uint8), picture)]) is None


def test_a_red_wall_is_too_much_like_skin() -> None:
    assert find_wall(before((180, 40, 40))) is None
