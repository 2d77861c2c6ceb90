"""Pictures against pictures: published measures, computed anew from their definitions."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluate.pixels import MAX_PSNR, gmsd, gradient_energy, luminance, psnr, ssim
from tests.fakes import paint_face

Luma = NDArray[np.float64]


@pytest.fixture
def face() -> Luma:
    return luminance(paint_face(96, 120, gape=0.05))


def test_ssim_is_the_published_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 255, (40, 50))
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255)
    rows = np.arange(-5, 6)
    kernel = np.exp(-(rows[:, None] ** 2 + rows[None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def mean(picture: np.ndarray[tuple[int, int], np.dtype[np.float64]], y: int, x: int) -> float:
        return float((picture[y - 5 : y + 6, x - 5 : x + 6] * kernel).sum())

    values = []
    for y in range(5, 35):
        for x in range(5, 45):
            ma, mb = mean(a, y, x), mean(b, y, x)
            va, vb, c = mean(a * a, y, x) - ma**2, mean(b * b, y, x) - mb**2, mean(a * b, y, x) - ma * mb
            values.append(
                (2 * ma * mb + 6.5025) * (2 * c + 58.5225) / ((ma**2 + mb**2 + 6.5025) * (va + vb + 58.5225))
            )
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-6)
    assert ssim(a, a) == pytest.approx(1)


def test_gmsd_is_the_published_one() -> None:
    rng = np.random.default_rng(1)
    a = rng.uniform(0, 255, (20, 24))
    b = np.clip(a + rng.normal(0, 25, a.shape), 0, 255)

    def magnitude(picture: Luma) -> Luma:
        half = np.array(
            [[picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(12)] for y in range(10)]
        )
        wide = np.pad(half, 1, mode="reflect")
        found = np.zeros(half.shape)
        for y in range(10):
            for x in range(12):
                part = wide[y : y + 3, x : x + 3]
                across = (part[:, 0] - part[:, 2]).sum() / 3
                down = (part[0] - part[2]).sum() / 3
                found[y, x] = np.hypot(across, down)
        return found

    ma, mb = magnitude(a), magnitude(b)
    assert gmsd(a, b) == pytest.approx(((2 * ma * mb + 170) / (ma**2 + mb**2 + 170)).std())
    assert gmsd(a, a) == pytest.approx(0, abs=1e-12)


def test_gmsd_grows_with_blur_and_keeps_its_head_about_brightness(face: Luma) -> None:
    soft, softer = (np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.float64) for sigma in (1.0, 2.5))
    assert 0.01 < gmsd(soft, face) < gmsd(softer, face) < 0.35
    assert gmsd(face + 10, face) == pytest.approx(0, abs=1e-9)


def test_gmsd_takes_odd_sides(face: Luma) -> None:
    assert gmsd(face[:61, :43], face[:61, :43]) == pytest.approx(0, abs=1e-12)


def test_psnr_of_a_known_error_and_of_none(face: Luma) -> None:
    assert psnr(face + 5, face) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(face, face) == MAX_PSNR


def test_luminance_weighs_green_most() -> None:
    red, green, blue = (
        luminance(np.eye(3, dtype=np.uint8)[k].reshape(1, 1, 3) * 100)[0, 0] for k in range(3)
    )
    assert (red, green, blue) == pytest.approx((29.9, 58.7, 11.4))


def test_gradient_energy_falls_with_blur_and_is_zero_on_grey(face: Luma) -> None:
    assert gradient_energy(np.full((20, 20), 90.0)) == 0
    assert gradient_energy(np.asarray(cv2.GaussianBlur(face, (0, 0), 2))) < 0.7 * gradient_energy(face)
