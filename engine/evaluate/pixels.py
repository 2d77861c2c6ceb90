"""Pictures held against each other; luminance in [0, 255]."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture

Series = NDArray[np.float64]

MAX_PSNR = 60.0
"""dB; 8-bit pictures that are equal would have no bound."""

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_GMSD_C = 170.0  # the constant of the paper, for luminance in [0, 255]
_PREWITT = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float64) / 3


def luminance(rgb: Picture) -> Series:
    """Rec. 601 luma, float64 (h, w), of RGB uint8 (h, w, 3)."""
    luma: Series = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return luma


def psnr(first: Series, second: Series) -> float:
    """Peak signal to noise ratio in dB, at most MAX_PSNR."""
    error = float(np.mean((first - second) ** 2))
    return float(min(MAX_PSNR, 10 * np.log10(255**2 / max(error, 1e-9))))


def gradient_energy(luma: Series) -> float:
    """Mean squared Sobel gradient (Tenengrad); the sum over frames weights each by its own detail."""
    across = cv2.Sobel(luma, cv2.CV_64F, 1, 0)
    down = cv2.Sobel(luma, cv2.CV_64F, 0, 1)
    return float(np.mean(across**2 + down**2))


def ssim(first: Series, second: Series) -> float:
    """Mean structural similarity (Wang et al. 2004): luminance in [0, 255], Gaussian 11x11 of sigma 1.5."""

    def blur(picture: Series) -> Series:
        smooth = cv2.GaussianBlur(picture, (11, 11), 1.5)
        return np.asarray(smooth[5:-5, 5:-5], np.float64)

    mean_a, mean_b = blur(first), blur(second)
    var_a = blur(first * first) - mean_a**2
    var_b = blur(second * second) - mean_b**2
    cov = blur(first * second) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))))


def gmsd(first: Series, second: Series) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014): 0 for equal pictures, about 0.35 at worst.

    The spread of how well local edges agree, at half size; it follows human judgement of blur, compression
    and noise about as well as distances of learned features, and needs no weights.
    """
    a, b = (_gradient_magnitude(_halved(picture)) for picture in (first, second))
    similarity = (2 * a * b + _GMSD_C) / (a**2 + b**2 + _GMSD_C)
    return float(np.std(similarity))


def _halved(luma: Series) -> Series:
    height, width = (side // 2 * 2 for side in luma.shape)
    whole = luma[:height, :width]
    return np.asarray(whole.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)), np.float64)


def _gradient_magnitude(luma: Series) -> Series:
    across, down = cv2.filter2D(luma, cv2.CV_64F, _PREWITT), cv2.filter2D(luma, cv2.CV_64F, _PREWITT.T)
    return np.asarray(np.hypot(across, down), np.float64)
