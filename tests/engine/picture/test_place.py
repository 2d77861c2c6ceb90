"""What an anchor frame tells of a paste: computed once, small, the same as from the frame itself."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.anchor import package
from engine.anchor.crop import Crop
from engine.anchor.package import Avatar
from engine.picture.paste import Paster, patch_region
from engine.picture.place import Place
from engine.picture.yuv import to_i420, to_levels
from tests.engine.picture.faces import LIPS, SIDE, place_in, skin, square_mask, talking, with_lips

CROP = Crop(160.3, 130.7, 110, 0.15)


def place() -> Place:
    return place_in(to_i420(with_lips(skin(), CROP)), CROP)


def test_levels_and_mask_are_those_of_the_window() -> None:
    made = place()
    assert made.window is not None
    rows, columns = made.window.rows, made.window.columns
    expected = to_levels(np.ascontiguousarray(made.idle[rows, columns]))
    np.testing.assert_array_equal(made.levels().luma, expected.luma)
    np.testing.assert_array_equal(made.levels().chroma, expected.chroma)
    np.testing.assert_allclose(made.mask(), square_mask()[rows, columns], atol=0.5 / 255 + 1e-6)


def test_what_it_hands_out_is_the_callers_own() -> None:
    made = place()
    levels, mask = made.levels(), made.mask()
    levels.luma[:], levels.chroma[:], mask[:] = 0, 0, 0
    assert made.levels().luma.min() > 0
    assert made.levels().chroma.min() > 0
    assert made.mask().max() == pytest.approx(1)


def test_the_ways_there_and_back_are_one_another() -> None:
    made = place()
    ways = made.shifted(6, 4)
    point = ways.to_window[:, :2] @ (150.0, 140.0) + ways.to_window[:, 2]
    np.testing.assert_allclose(made.to_window[:, :2] @ (150.0, 140.0) + made.to_window[:, 2] - (6, 4), point)
    np.testing.assert_allclose(ways.to_frame[:, :2] @ point + ways.to_frame[:, 2], (150, 140), atol=1e-9)


def test_lips_are_counted_from_the_corner_that_is_asked_for() -> None:
    made = place()
    assert made.window is not None
    x, y = made.window.columns.start, made.window.rows.start
    assert made.lips_from(0, 0) == pytest.approx(
        (LIPS[0] * SIDE - x, LIPS[1] * SIDE - y, LIPS[2] * SIDE - x, LIPS[3] * SIDE - y)
    )
    assert made.lips_from(3, 5)[:2] == pytest.approx((LIPS[0] * SIDE - x - 3, LIPS[1] * SIDE - y - 5))


def test_an_empty_mask_has_no_window_and_takes_no_memory() -> None:
    made = Place(CROP, np.zeros((SIDE, SIDE), np.float32), place().idle, LIPS)
    assert made.window is None
    assert made.nbytes == 0


def test_it_takes_a_few_bytes_a_pixel() -> None:
    assert 2 * SIDE * SIDE < place().nbytes < 3.5 * SIDE * SIDE


def test_what_lies_outside_of_the_region_is_never_read() -> None:
    """A mouth that draws the region alone leaves anything at all beside it."""
    anchor, _, patch = talking(CROP)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[20:80, 14:82] = square_mask()[18:78, 14:82]
    made = place_in(anchor, CROP, mask)
    region = patch_region(mask)
    other = np.random.default_rng(0).integers(0, 256, patch.shape, np.uint8)
    other[region.rows, region.columns] = patch[region.rows, region.columns]
    np.testing.assert_array_equal(
        Paster().paste(anchor, patch, made, 1.0), Paster().paste(anchor, other, made, 1.0)
    )


def test_a_pasted_picture_is_the_callers_alone() -> None:
    """Encoders, fades and outlets hold pictures after the tick: none may be written to again."""
    anchor, made, patch = talking(CROP)
    anchor.flags.writeable = False
    paster = Paster()
    held = [paster.paste(anchor, patch, made, (number + 1) / 4) for number in range(4)]
    kept = [picture.copy() for picture in held]
    for _ in range(8):
        paster.paste(anchor, np.roll(patch, 3, axis=0), made, 1.0)
    for picture, before in zip(held, kept, strict=True):
        np.testing.assert_array_equal(picture, before)
        assert not np.shares_memory(picture, anchor)
    assert not np.shares_memory(held[0], held[1])


def test_sessions_in_several_threads_draw_what_one_alone_draws(avatar: Avatar) -> None:
    def run(seed: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        paster, rng = Paster(), np.random.default_rng(seed)
        out = []
        for number in range(30):
            frame = number % avatar.frames
            patch = avatar.face(frame).copy()
            patch[30:50, 20:44] = rng.integers(0, 200)
            out.append(paster.paste(avatar.frame(frame), patch, avatar.place(frame), 1.0))
        return out

    alone = [run(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(4)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_avatar_makes_each_place_once(avatar: Avatar) -> None:
    assert avatar.place(3) is avatar.place(3)
    assert avatar.place(3) is not avatar.place(4)


def test_an_avatar_keeps_no_more_places_than_fit(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Avatar.load(avatar.folder)
    monkeypatch.setattr(package, "_PLACES_BYTES", round(2.5 * fresh.place(0).nbytes))
    fresh = Avatar.load(avatar.folder)
    kept = [fresh.place(frame) is fresh.place(frame) for frame in range(fresh.frames)]
    assert kept == [True, True] + [False] * (fresh.frames - 2)
    # What is not kept is the same again.
    np.testing.assert_array_equal(fresh.place(5).mask(), avatar.place(5).mask())
