from collections.abc import Callable

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from tests.training.footage import SIDE
from training.clip_data import cut_clip
from training.clips import MARGIN
from training.loader import Random
from training.variation import Variation, colour_table, draw_harsh, draw_steady, draw_variation

SIZE = 96


def dotted(lips: tuple[float, float], side: int = 2 * SIDE) -> Picture:
    """A grey square with a white dot where the lips are."""
    picture = np.full((side, side, 3), 60, np.uint8)
    centre = (round((lips[0] * side - 0.5) * 16), round((lips[1] * side - 0.5) * 16))
    cv2.circle(picture, centre, 16 * side // 24, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return picture


def dot_of(picture: Picture) -> tuple[float, float]:
    """Centre of the dot in [0, 1]."""
    level = picture.mean(axis=2)
    weight = np.clip(level - (np.median(level) + level.max()) / 2, 0, None)
    rows, columns = np.mgrid[: len(picture), : len(picture)] + 0.5
    total = weight.sum() * len(picture)
    return float((columns * weight).sum() / total), float((rows * weight).sum() / total)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("camera", [draw_variation, draw_harsh, draw_steady])
def test_lips_stay_on_the_lips(seed: int, camera: Callable[[Random], Variation]) -> None:
    """Whatever the camera: shifted, zoomed, turned, mirrored, blurred, tinted."""
    random = np.random.default_rng(seed)
    lips = (float(random.uniform(0.42, 0.58)), float(random.uniform(0.42, 0.6)))
    variation = camera(random)
    picture = cut_clip(dotted(lips), MARGIN, SIZE, variation, None)
    assert picture.shape == (SIZE, SIZE, 3)
    assert dot_of(picture) == pytest.approx(variation.moved(list(lips), MARGIN), abs=0.02)


def test_without_variation_the_margin_is_cut_away() -> None:
    lips = (0.4, 0.6)
    expected = tuple(0.5 + (value - 0.5) * MARGIN for value in lips)
    assert Variation().moved(list(lips), MARGIN) == pytest.approx(expected, abs=1e-6)
    assert dot_of(cut_clip(dotted(lips), MARGIN, SIZE, Variation(), None)) == pytest.approx(
        expected, abs=0.01
    )


def test_a_mirror_changes_sides_only() -> None:
    picture = dotted((0.35, 0.55))
    plain = cut_clip(picture, MARGIN, SIZE, Variation(), None)
    mirrored = cut_clip(picture, MARGIN, SIZE, Variation(mirror=True), None)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    there, back = Variation().moved([0.35, 0.55], MARGIN), Variation(mirror=True).moved([0.35, 0.55], MARGIN)
    assert there[0] + back[0] == pytest.approx(1)
    assert there[1] == back[1]


@pytest.mark.parametrize("size", [24, 48, 60])
def test_half_size_decoding_gives_the_same_crop(size: int) -> None:
    from tests.training.footage import paint_mouth
    from training.clips import decode, encode

    stored = encode(paint_mouth(0.7, side=2 * SIDE))
    variation = draw_variation(np.random.default_rng(3))
    whole = cut_clip(decode(stored), MARGIN, size, variation, None).astype(int)
    half = cut_clip(decode(stored, half=True), MARGIN, size, variation, None).astype(int)
    assert np.abs(whole - half).mean() < 3
    assert np.abs(whole - half).max() < 60


def test_trembling_moves_pictures_apart_and_only_when_asked() -> None:
    variation = Variation(tremble=0.01)
    picture = dotted((0.5, 0.5))
    random = np.random.default_rng(0)
    dots = np.array([dot_of(cut_clip(picture, MARGIN, SIZE, variation, random)) for _ in range(12)])
    assert 0.002 < dots.std(axis=0).max() < 0.03
    first, second = (cut_clip(picture, MARGIN, SIZE, variation, None) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_one_camera_sees_five_pictures_alike() -> None:
    variation = draw_harsh(np.random.default_rng(5))
    picture = dotted((0.5, 0.5))
    first, second = (variation.seen(picture) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_harsh_cameras_stray_further() -> None:
    def spread(camera: Callable[[Random], Variation]) -> tuple[float, float]:
        drawn = [camera(np.random.default_rng(seed)) for seed in range(200)]
        return float(np.std([v.zoom for v in drawn])), float(np.std([v.turn for v in drawn]))

    steady, mild, harsh = spread(draw_steady), spread(draw_variation), spread(draw_harsh)
    assert all(2 * a < b for a, b in zip(steady, mild, strict=True))
    assert all(2 * a < b for a, b in zip(mild, harsh, strict=True))
    assert not any(draw_steady(np.random.default_rng(seed)).mirror for seed in range(50))
    drawn = [draw_variation(np.random.default_rng(seed)) for seed in range(200)]
    assert 70 < sum(v.mirror for v in drawn) < 130
    assert not any(v.grey or v.blur or v.noise or v.tremble for v in drawn)


def test_grey_takes_the_colour_away() -> None:
    picture = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    seen = Variation(grey=1.0).seen(picture)
    assert np.ptp(seen[0, 0].astype(int)) <= 1


def test_noise_has_the_strength_asked_for() -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    assert Variation(noise=6.0, grain=1).seen(picture).std() == pytest.approx(6, rel=0.1)


def test_colour_tables_rise_and_stay_in_range() -> None:
    for seed in range(30):
        table = colour_table(np.random.default_rng(seed), spread=2.0)
        assert table.shape == (256, 3)
        assert (np.diff(table.astype(int), axis=0) >= 0).all()
        assert (table[0] == 0).all()
        assert table[200].min() > 60
