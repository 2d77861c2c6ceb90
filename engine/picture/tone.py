"""High dynamic range to standard: PQ or HLG in BT.2020 to the 8 bits that the house works with.

Signals become display light (BT.2100: PQ's EOTF; HLG's inverse OETF and OOTF for a 1000 cd/m2 display), in
which BT.2408 puts white paper at 203 cd/m2. That is the target's white; what is brighter is rolled off by
BT.2390's EETF on the largest of the three colours, so that hue stays and mid-tones, faces among them, keep
their light. Then BT.2087's matrix to BT.709 primaries and BT.1886's gamma of 2.4.
"""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture

Transfer = Literal["pq", "hlg"]
Floats = NDArray[np.float32]

WHITE = 203.0
"""cd/m2 of white paper (BT.2408), which becomes the largest 8-bit value but for the roll-off."""

PEAK = 1000.0
"""cd/m2 of the brightest light that is told apart: HLG's nominal display, and what phones record."""

_TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    np.float32,
)  # BT.2087, linear light
_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)  # BT.2020
_SYSTEM_GAMMA = 1.2  # HLG's OOTF at 1000 cd/m2
_STEPS = 4096
_BITS = 4  # of 16, more than the tables tell apart


class ToneMap:
    """Turns RGB pictures of one transfer function into standard ones; its tables are built once."""

    def __init__(self, transfer: Transfer) -> None:
        codes = np.arange(_STEPS) / (_STEPS - 1)
        self._hlg = transfer == "hlg"
        self._linear = (_hlg_scene(codes) if self._hlg else pq_light(codes) / WHITE).astype(np.float32)
        # Square roots spread the dark, where eyes see steps, over more of a table.
        light = codes**2 * (PEAK / WHITE)
        self._gain = (roll_off(light) / np.maximum(light, 1e-9)).astype(np.float32)
        self._gain[0] = self._gain[1]
        self._eight = np.rint(255 * (codes**2) ** (1 / 2.4)).astype(np.uint8)

    def __call__(self, signal: NDArray[np.uint16]) -> Picture:
        """Full-range R'G'B' (h, w, 3) of 16 bits in BT.2020 as 8 bits in BT.709."""
        light = self._linear.take(signal >> _BITS, mode="clip")
        if self._hlg:
            scene = cv2.transform(light, _LUMINANCE)
            light *= (cv2.pow(scene, _SYSTEM_GAMMA - 1) * np.float32(PEAK / WHITE))[..., None]
        red, green, blue = cv2.split(light)
        brightest = cv2.max(cv2.max(red, green), blue) * np.float32(WHITE / PEAK)
        light *= _look_up(self._gain, brightest)[..., None]
        return _look_up(self._eight, np.asarray(cv2.transform(light, _TO_709), np.float32))


def _look_up(table: NDArray[Any], share: Floats) -> NDArray[Any]:
    """What a table over square roots holds for values in [0, 1]; those outside count as the nearest."""
    _, positive = cv2.threshold(share, 0, 0, cv2.THRESH_TOZERO)
    index = cv2.sqrt(positive) * np.float32(_STEPS - 1) + np.float32(0.5)
    return table.take(index.astype(np.int32), mode="clip")


def pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """PQ's EOTF (BT.2100 table 4): signal in [0, 1] to cd/m2."""
    root = np.power(signal, 32 / 2523)
    return 10000 * np.power(
        np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root), 16384 / 2610
    )


def pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `pq_light`."""
    root = np.power(np.clip(light / 10000, 0, 1), 2610 / 16384)
    return np.power((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root), 2523 / 32)


def _hlg_scene(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """HLG's inverse OETF (BT.2100 table 5): signal in [0, 1] to scene light in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def roll_off(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """BT.2390's EETF from [0, PEAK / WHITE] to [0, 1], both in units of WHITE: straight up to the knee, then
    a Hermite spline that ends flat at white.
    """
    top = float(pq_signal(np.array(PEAK)))
    target = float(pq_signal(np.array(WHITE))) / top
    knee = 1.5 * target - 0.5
    source = pq_signal(light * WHITE) / top
    t = np.clip((source - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * target
    )
    return np.asarray(pq_light(np.where(source < knee, source, spline) * top) / WHITE)
