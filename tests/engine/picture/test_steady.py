"""Noise between pictures is damped, motion is not."""

import numpy as np
import pytest

from engine.picture.steady import Steady
from engine.picture.yuv import Levels, Plane

SIZE = 48
WHOLE = slice(0, SIZE)


def face(luma: Plane | float = 100.0) -> Levels:
    plane = np.broadcast_to(np.asarray(luma, np.float32), (SIZE, SIZE)).copy()
    return Levels(plane, np.full((SIZE // 2, SIZE // 2, 2), 128, np.float32))


def settled(pictures: list[Levels], idles: list[Levels] | None = None) -> list[Levels]:
    steady = Steady()
    return [
        steady.settle(picture, idle, WHOLE, WHOLE)
        for picture, idle in zip(pictures, idles or [face()] * len(pictures), strict=True)
    ]


def bar(column: int) -> Levels:
    plane = np.full((SIZE, SIZE), 100, np.float32)
    plane[:, column : column + 4] = 30
    return face(plane)


def test_two_levels_in_turn_are_damped_to_a_fraction() -> None:
    out = settled([face(100 + number % 2 * 2) for number in range(20)])
    levels = np.array([picture.luma.mean() for picture in out[6:]])
    assert np.ptp(levels) < 0.6
    assert levels.mean() == pytest.approx(101, abs=0.2)


def test_noise_is_damped_and_its_mean_kept() -> None:
    rng = np.random.default_rng(0)
    noisy = [face(104 + rng.normal(0, 0.7, (SIZE, SIZE)).astype(np.float32)) for _ in range(40)]
    out = settled(noisy)
    before = np.std([one.luma for one in noisy[10:]], axis=0).mean()
    after = np.std([one.luma for one in out[10:]], axis=0).mean()
    assert after < 0.65 * before
    assert np.mean([one.luma.mean() for one in out[10:]]) == pytest.approx(104, abs=0.1)


def test_what_moves_is_shown_at_once() -> None:
    """A dark bar that jumps: no trace of it stays, and it has arrived in the same picture."""
    out = settled([bar(8), bar(8), bar(30)])
    np.testing.assert_allclose(out[-1].luma[:, 30:34], 30, atol=0.01)
    np.testing.assert_allclose(out[-1].luma[:, 8:12], 100, atol=0.01)


def test_a_moving_edge_has_no_lag() -> None:
    out = settled([bar(4 + 2 * number) for number in range(12)])
    for number, picture in enumerate(out):
        dark = np.flatnonzero(picture.luma[20] < 65)
        assert dark[0] == 4 + 2 * number


def test_what_the_anchor_itself_does_is_no_noise() -> None:
    """A head that grows brighter by a level a picture: the mouth goes along."""
    idles = [face(100.0 + number) for number in range(12)]
    out = settled([face(110.0 + number) for number in range(12)], idles)
    for number, picture in enumerate(out):
        np.testing.assert_allclose(picture.luma, 110 + number, atol=1e-3)


def test_a_window_that_shifts_finds_its_pixels_again() -> None:
    steady = Steady()
    ramp = np.arange(SIZE, dtype=np.float32)[None, :].repeat(SIZE, axis=0) * 0.2
    idle, drawn = face(), face(100 + ramp)
    first = steady.settle(drawn, idle, WHOLE, WHOLE)

    def cut(one: Levels, rows: slice, columns: slice) -> Levels:
        half = tuple(slice(part.start // 2, part.stop // 2) for part in (rows, columns))
        return Levels(one.luma[rows, columns], one.chroma[half])

    rows, columns = slice(4, 40), slice(6, 44)
    again = steady.settle(cut(drawn, rows, columns), cut(idle, rows, columns), rows, columns)
    np.testing.assert_allclose(again.luma, first.luma[rows, columns], atol=1e-4)
    wider = steady.settle(drawn, idle, WHOLE, WHOLE)
    np.testing.assert_allclose(wider.luma, drawn.luma, atol=1e-4)


def test_windows_without_anything_in_common_start_afresh() -> None:
    steady = Steady()
    small = Levels(np.full((8, 8), 90, np.float32), np.full((4, 4, 2), 128, np.float32))
    idle = Levels(np.full((8, 8), 100, np.float32), np.full((4, 4, 2), 128, np.float32))
    steady.settle(small, idle, slice(0, 8), slice(0, 8))
    out = steady.settle(small, idle, slice(30, 38), slice(30, 38))
    np.testing.assert_allclose(out.luma, 90)


def test_reset_forgets() -> None:
    steady = Steady()
    steady.settle(face(104), face(), WHOLE, WHOLE)
    steady.reset()
    np.testing.assert_allclose(steady.settle(face(103), face(), WHOLE, WHOLE).luma, 103)
