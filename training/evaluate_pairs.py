"""Judges the picture side alone: rendered pairs, painted from their true codes.

Cheap enough for many characters; what the ear adds is judged by training.evaluate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.evaluate import gradient_energy, luminance
from engine.mouth.features import to_pictures
from training import checkpoint
from training.models.generator import Parts
from training.models.presets import preset
from training.picture_data import Pair, collate, cut, read_pairs

_BATCH = 8


@dataclass(frozen=True, slots=True)
class PairScore:
    """Means over pairs, in the mouth's region: PSNR (dB) of painted and of idle pictures, sharpness ratio."""

    pairs: int
    psnr_mouth: float
    psnr_idle: float
    sharpness_ratio: float


def judge_pairs(checkpoint_file: Path, data: Path) -> PairScore:
    """Scores the generator in `checkpoint_file` on the pairs below `data`.

    Raises KouboError for an unusable checkpoint, BadMediaError for no pairs.
    """
    plan = preset(checkpoint.read_state(checkpoint_file)["preset"])
    parts = Parts.create(plan)
    checkpoint.load_trained(checkpoint_file, {"face": parts.face, "decoder": parts.decoder})
    for network in (parts.face, parts.decoder):
        network.eval()
    pairs = read_pairs(data)
    rows = [
        row
        for at in range(0, len(pairs), _BATCH)
        for row in _score(parts, pairs[at : at + _BATCH], plan.size)
    ]
    painted, idle, sharp, true_sharp = np.array(rows).T
    return PairScore(
        len(rows),
        round(float(painted.mean()), 2),
        round(float(idle.mean()), 2),
        round(float(sharp.sum() / true_sharp.sum()), 3),
    )


def _score(parts: Parts, pairs: Sequence[Pair], size: int) -> list[tuple[float, float, float, float]]:
    cuts = [cut(pair, size) for pair in pairs]
    batch = collate(pairs, cuts)
    with torch.no_grad():
        painted = to_pictures(parts.decoder(batch.code, parts.face(batch.face)).numpy())
    rows = []
    for picture, (idle, truth, lips) in zip(painted, cuts, strict=True):
        region = _region(lips, size)
        ours, still, theirs = (luminance(p[region]) for p in (picture, idle, truth))
        rows.append(
            (_psnr(ours, theirs), _psnr(still, theirs), gradient_energy(ours), gradient_energy(theirs))
        )
    return rows


def _region(lips: tuple[float, float], size: int) -> tuple[slice, slice]:
    x, y = (round(size * value) for value in lips)
    reach = round(0.2 * size)
    return slice(max(0, y - reach // 2), y + reach), slice(max(0, x - reach), x + reach)


def _psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-3, np.mean((ours - theirs) ** 2))))
