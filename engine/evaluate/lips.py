"""How lips move over time, and whether two pairs of lips move alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.anchor.tracker import Face
from engine.evaluate.track import Track

MAX_LAG = 5
"""Frames to either side in which a shift of the lips is looked for."""

_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152


@dataclass(slots=True)
class Lips:
    """What the tracker reads over time.

    `jaw` and `pucker` are blendshapes in [0, 1]; `aperture` is the inner-lip distance over face height.
    """

    jaw: list[float] = field(default_factory=list)
    aperture: list[float] = field(default_factory=list)
    pucker: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LipScore:
    """Pearson correlations over time (NaN where nothing moves); `lag_frames`: how many ours come late."""

    jaw_r: float
    aperture_r: float
    pucker_r: float
    lag_frames: int


def read_lips(faces: Iterable[Face]) -> Lips:
    """The lips of faces in their order."""
    lips = Lips()
    for face in faces:
        lips.aperture.append(aperture(face))
        lips.jaw.append(face.blendshapes["jawOpen"])
        lips.pucker.append(face.blendshapes["mouthPucker"])
    return lips


def aperture(face: Face) -> float:
    """Inner-lip distance over face height."""
    height = float(np.linalg.norm(face.landmarks[_FOREHEAD] - face.landmarks[_CHIN]))
    gap = float(np.linalg.norm(face.landmarks[_UPPER_LIP] - face.landmarks[_LOWER_LIP]))
    return gap / max(height, 1e-6)


def compare_lips(generated: Track, reference: Track) -> LipScore:
    """Correlation and lag of two tracks, over the pictures in which both show a face."""
    both = [
        (ours, theirs)
        for ours, theirs in zip(generated.faces, reference.faces, strict=False)
        if ours is not None and theirs is not None
    ]
    mine, truth = (read_lips(pair[side] for pair in both) for side in (0, 1))
    return LipScore(
        correlation(mine.jaw, truth.jaw),
        correlation(mine.aperture, truth.aperture),
        correlation(mine.pucker, truth.pucker),
        _lag(mine, truth),
    )


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of two series of equal length; NaN when either does not move."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < 2 or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def shifted(mine: Sequence[float], truth: Sequence[float], lag: int) -> float:
    """Correlation when mine comes `lag` frames after truth; -1 when that cannot be said."""
    count = len(mine) - abs(lag)
    if count < 2:
        return -1.0
    r = correlation(mine[max(lag, 0) :][:count], truth[max(-lag, 0) :][:count])
    return -1.0 if r != r else r


def _lag(mine: Lips, truth: Lips) -> int:
    """The shift of best correlation of the aperture; the jaw decides where that is equal to 0.001."""

    def fit(lag: int) -> tuple[float, float, int]:
        pairs = ((mine.aperture, truth.aperture), (mine.jaw, truth.jaw))
        gap, jaw = (shifted(a, b, lag) for a, b in pairs)
        return round(gap, 3), jaw, -abs(lag)

    return max(range(-MAX_LAG, MAX_LAG + 1), key=fit)
