"""From phones to the mouth's pose: viseme curves with coarticulation.

A phone asks for a mixture of mouth shapes; neighbouring phones overlap, so the shapes are smoothed
over a few tens of milliseconds (coarticulation in the sense of Cohen & Massaro, 1993). What the eye
never forgives is handled after the smoothing: lips meet on p, b and m, the lower lip touches the
teeth on f and v, however fast the speech is.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples
from training.studio.phones import Phone

VISEMES = (
    "AE_AA", "AO_a", "Ax_E", "TD_I", "UH_OO", "UW_U", "H_EST", "FV", "S", "SH_CH", "MPB", "KG",
)  # fmt: skip
"""The mouth shapes of the code, named as the characters' morph targets (MPB drives Up and Down)."""

CURVE_RATE = 100
"""Curves are computed at 100 values a second, then sampled where pictures are."""

_SMOOTH_S = 0.032
_CLOSURE_RAMP_S = 0.05
_MIN_LOUDNESS = 0.5

Shape = Mapping[str, float]
_NONE: Shape = MappingProxyType({})

_ARPABET: dict[str, tuple[Shape, ...]] = {
    "AA": ({"AE_AA": 0.75, "AO_a": 0.35},),
    "AE": ({"AE_AA": 1.0},),
    "AH": ({"Ax_E": 0.6, "AE_AA": 0.25},),
    "AO": ({"AO_a": 1.0},),
    "AW": ({"AE_AA": 0.9}, {"UH_OO": 0.8}),
    "AY": ({"AE_AA": 0.9}, {"H_EST": 0.6, "TD_I": 0.2}),
    "EH": ({"Ax_E": 0.9, "AE_AA": 0.15},),
    "ER": ({"UH_OO": 0.45, "Ax_E": 0.35},),
    "EY": ({"Ax_E": 0.8}, {"H_EST": 0.7}),
    "IH": ({"H_EST": 0.5, "TD_I": 0.4},),
    "IY": ({"H_EST": 0.9, "TD_I": 0.15},),
    "OW": ({"AO_a": 0.6, "UH_OO": 0.4}, {"UW_U": 0.8}),
    "OY": ({"AO_a": 0.9}, {"H_EST": 0.6}),
    "UH": ({"UH_OO": 0.85},),
    "UW": ({"UW_U": 1.0},),
    "W": ({"UW_U": 1.0},),
    "R": ({"UW_U": 0.35, "SH_CH": 0.3},),
    "Y": ({"H_EST": 0.7},),
    "L": ({"TD_I": 0.7},),
    "N": ({"TD_I": 0.65},),
    "T": ({"TD_I": 0.7},),
    "D": ({"TD_I": 0.7},),
    "TH": ({"TD_I": 0.8},),
    "DH": ({"TD_I": 0.75},),
    "S": ({"S": 0.9},),
    "Z": ({"S": 0.85},),
    "SH": ({"SH_CH": 1.0},),
    "ZH": ({"SH_CH": 0.9},),
    "CH": ({"SH_CH": 1.0},),
    "JH": ({"SH_CH": 0.95},),
    "K": ({"KG": 0.7},),
    "G": ({"KG": 0.7},),
    "NG": ({"KG": 0.6},),
    "HH": ({"H_EST": 0.35},),
    "F": ({"FV": 1.0},),
    "V": ({"FV": 0.95},),
    "P": ({"MPB": 1.0},),
    "B": ({"MPB": 1.0},),
    "M": ({"MPB": 1.0},),
}
"""ARPAbet to one shape, or two for a diphthong's two halves."""

_IPA: dict[str, str] = {
    "a": "AE", "ɑ": "AA", "ɐ": "AH", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɚ": "ER", "ɜ": "ER", "ɝ": "ER",
    "e": "EH", "ɛ": "EH", "i": "IY", "ɪ": "IH", "ᵻ": "IH", "ɨ": "IH", "o": "AO", "ɔ": "AO", "ɒ": "AO",
    "u": "UW", "ʊ": "UH", "y": "UW", "ø": "UH", "œ": "UH", "ɤ": "AH", "ɯ": "IH",
    "p": "P", "b": "B", "m": "M", "f": "F", "v": "V", "ʋ": "V", "w": "W", "ɥ": "W",
    "t": "T", "d": "D", "n": "N", "l": "L", "ɾ": "D", "ɫ": "L", "ɲ": "N", "θ": "TH", "ð": "DH",
    "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "ɕ": "SH", "ʑ": "ZH", "ʂ": "SH", "ʐ": "ZH",
    "k": "K", "ɡ": "G", "g": "G", "ŋ": "NG", "x": "K", "h": "HH", "ɦ": "HH", "ɹ": "R", "r": "R", "ɻ": "R",
    "j": "Y", "ç": "HH", "ʁ": "K", "q": "K",
}  # fmt: skip
"""The first letters of IPA symbols, as espeak-ng names its phonemes, to the nearest ARPAbet phone."""


_VOWELS = frozenset(["AA", "AE", "AH", "AO", "EH", "ER", "IH", "IY", "UH", "UW"])
_SIBILANTS = frozenset(["S", "Z", "SH", "ZH"])


def shapes_of(label: str) -> tuple[Shape, ...]:
    """Mouth shapes of an ARPAbet or IPA label; silence and unknown labels leave the mouth closed."""
    if label in _ARPABET:
        return _ARPABET[label]
    phones = [_IPA[letter] for letter in label if letter in _IPA]
    vowels = [phone for phone in phones if phone in _VOWELS]
    if vowels:  # one, or the two halves of a diphthong
        return tuple(_ARPABET[phone][0] for phone in vowels[:2])
    sibilants = [phone for phone in phones if phone in _SIBILANTS]
    spoken = sibilants or phones  # an affricate looks like its sibilant
    return _ARPABET[spoken[0]] if spoken else (_NONE,)


def viseme_curves(phones: Sequence[Phone], samples: Samples) -> NDArray[np.float32]:
    """The mouth's pose over time.

    Returns float32 (steps, len(VISEMES)) in [0, 1], CURVE_RATE steps a second, covering `samples`
    (16 kHz mono). Vowels open less where the voice is soft.
    """
    steps = max(1, round(samples.size / SAMPLE_RATE * CURVE_RATE))
    targets = np.zeros((steps, len(VISEMES)), np.float32)
    closure = np.zeros((steps, 2), np.float32)
    for phone in phones:
        _draw(targets, closure, phone)
    loudness = _loudness(samples, steps)
    curves = _smooth(targets, _SMOOTH_S) * loudness[:, None]
    return _close(curves, closure)


def sample_curves(curves: NDArray[np.float32], frames: int, rate: float = 25.0) -> NDArray[np.float32]:
    """Curves at the pictures' times: float32 (frames, len(VISEMES)), picture i at (i + 0.5) / rate."""
    times = (np.arange(frames) + 0.5) / rate * CURVE_RATE
    steps = np.arange(len(curves))
    columns = [np.interp(times, steps, curves[:, c]) for c in range(curves.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _draw(targets: NDArray[np.float32], closure: NDArray[np.float32], phone: Phone) -> None:
    shapes = shapes_of(phone.label)
    edges = np.linspace(phone.start, phone.end, len(shapes) + 1) * CURVE_RATE
    for shape, begin, end in zip(shapes, edges[:-1], edges[1:], strict=True):
        span = slice(round(begin), max(round(begin) + 1, round(end)))
        for name, value in shape.items():
            if name in ("MPB", "FV"):
                closure[span, 0 if name == "MPB" else 1] = value
            else:
                targets[span, VISEMES.index(name)] = value


def _loudness(samples: Samples, steps: int) -> NDArray[np.float32]:
    hop = SAMPLE_RATE // CURVE_RATE
    padded = np.zeros(steps * hop, np.float32)
    padded[: min(samples.size, padded.size)] = samples[: padded.size]
    rms = np.sqrt(np.mean(padded.reshape(steps, hop) ** 2, axis=1) + 1e-10)
    level = 20 * np.log10(_smooth(rms[:, None], 0.06)[:, 0] + 1e-6)
    top = np.percentile(level, 95)
    scale = _MIN_LOUDNESS + (1 - _MIN_LOUDNESS) * np.clip((level - top + 24) / 24, 0, 1)
    result: NDArray[np.float32] = scale.astype(np.float32)
    return result


def _smooth(values: NDArray[np.float32], sigma_s: float) -> NDArray[np.float32]:
    sigma = sigma_s * CURVE_RATE
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, c], kernel, mode="valid") for c in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _close(curves: NDArray[np.float32], closure: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overrides the shapes where lips meet: ramps reach 1 for the whole closure."""
    ramp = max(1, round(_CLOSURE_RAMP_S * CURVE_RATE))
    spread = np.zeros_like(closure)
    for shift in range(-ramp, ramp + 1):
        weight = 0.5 * (1 + np.cos(np.pi * shift / (ramp + 1)))
        spread = np.maximum(spread, weight * _shifted(closure, shift))
    mpb, fv = spread[:, 0], spread[:, 1]
    closed = curves * (1 - np.maximum(mpb, 0.85 * fv))[:, None]
    closed[:, VISEMES.index("MPB")] = mpb
    closed[:, VISEMES.index("FV")] = fv * (1 - mpb)
    limited: NDArray[np.float32] = np.clip(closed, 0, 1).astype(np.float32)
    return limited


def _shifted(values: NDArray[np.float32], shift: int) -> NDArray[np.float32]:
    moved = np.zeros_like(values)
    if shift >= 0:
        moved[shift:] = values[: len(values) - shift]
    else:
        moved[:shift] = values[-shift:]
    return moved
