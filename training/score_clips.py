"""Scores a generator on clips that it never saw: likeness, sharpness, lips read by an independent tracker.

Clips hold the lower face only; the tracker wants a head around it, so their edges are carried outwards, for
the true and the painted pictures alike.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.anchor.crop import Picture, input_mask
from engine.anchor.tracker import FaceTracker
from engine.evaluate import gradient_energy, luminance
from engine.mouth.features import to_pictures
from engine.speech.mel import log_mel, window
from training import parallel
from training.clip_data import FILMED_MASK_TOP, cut_clip, to_array
from training.clips import Clip, decode
from training.evaluate_sync import clip_pictures
from training.models.generator import Parts
from training.variation import Variation

OpenTracker = Callable[[], AbstractContextManager[FaceTracker]]

_BATCH = 25
_TRACKED = 256
_FAR_TICKS = 12  # sound this far off must not fit


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Means over clips. psnr, sharpness: of the mouth's region against the true pictures; jaw_r: correlation
    of the jaw's opening with the truth; swapped_jaw_r: the same when the mouth is painted to sound half a
    second off: near jaw_r means that the generator looks instead of listening.
    """

    clips: int
    psnr: float
    sharpness: float
    jaw_r: float
    swapped_jaw_r: float


def score_clips(parts: Parts, size: int, clips: Sequence[Clip], tracker: OpenTracker) -> ClipScore:
    """Paints and scores every clip from its idle picture (rendered) or its first one (filmed)."""
    rows = []
    for clip in clips:
        truth = clip_pictures(clip, size)
        painted = paint_clip(parts, size, clip, truth)
        swapped = paint_clip(parts, size, clip, truth, off=_FAR_TICKS)
        true_jaw = _jaw(truth, tracker)
        region = _mouth(clip, size)
        ours = [luminance(picture[region]) for picture in painted]
        theirs = [luminance(picture[region]) for picture in truth]
        error = float(np.mean([np.mean((a - b) ** 2) for a, b in zip(ours, theirs, strict=True)]))
        sharp = sum(map(gradient_energy, ours)) / sum(map(gradient_energy, theirs))
        jaws = [_correlation(_jaw(pictures, tracker), true_jaw) for pictures in (painted, swapped)]
        rows.append((10 * np.log10(255**2 / max(error, 1e-3)), sharp, *jaws))
    psnr, sharpness, jaw, swapped_jaw = np.nanmean(np.array(rows, np.float64), axis=0)
    return ClipScore(
        len(rows), *(round(float(v), d) for v, d in ((psnr, 2), (sharpness, 3), (jaw, 3), (swapped_jaw, 3)))
    )


def paint_clip(
    parts: Parts, size: int, clip: Clip, truth: Sequence[Picture], *, off: int = 0
) -> list[Picture]:
    """The clip's pictures painted from its sound, or from the sound `off` ticks later."""
    spectrogram = log_mel(clip.samples)
    lead = clip.card.lead + off
    mel = np.stack([window(spectrogram, lead + tick) for tick in range(clip.card.frames)])[:, None]
    if clip.idle is not None:
        reference = cut_clip(decode(clip.idle), clip.card.margin, size, Variation(), None)
        masked, top = [reference] * len(truth), None
    else:
        reference = truth[0]
        masked, top = list(truth), FILMED_MASK_TOP
    mask = input_mask(size) if top is None else input_mask(size, top)
    where = parallel.device()
    painted: list[Picture] = []
    for at in range(0, len(truth), _BATCH):
        seen = np.where(mask, np.float32(0), to_array(masked[at : at + _BATCH]))
        face = np.concatenate([seen, np.repeat(to_array([reference]), len(seen), axis=0)], axis=1)
        with torch.no_grad():
            code = parts.ear(torch.from_numpy(mel[at : at + _BATCH]).to(where))
            drawn = parts.decoder(code, parts.face(torch.from_numpy(face).to(where)))
        painted += list(to_pictures(drawn.float().cpu().numpy()))
    return painted


def _jaw(pictures: Sequence[Picture], open_tracker: OpenTracker) -> NDArray[np.float64]:
    """jawOpen of each picture; NaN where no face was seen."""
    found = []
    with open_tracker() as tracker:
        for index, picture in enumerate(pictures):
            grown = cv2.resize(picture, (_TRACKED, _TRACKED), interpolation=cv2.INTER_CUBIC)
            whole = cv2.copyMakeBorder(
                grown, _TRACKED // 2, _TRACKED // 6, _TRACKED // 4, _TRACKED // 4, cv2.BORDER_REPLICATE
            )
            face = tracker.track(np.asarray(whole, np.uint8), 40 * index)
            found.append(face.blendshapes["jawOpen"] if face else np.nan)
    return np.array(found)


def _correlation(ours: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Pearson's r where both were seen; NaN where the truth hardly moves, 0 where only ours stands still."""
    seen = np.isfinite(ours) & np.isfinite(truth)
    if seen.sum() < 10 or np.std(truth[seen]) < 0.01:
        return float("nan")
    if np.std(ours[seen]) < 1e-6:
        return 0.0
    return float(np.corrcoef(ours[seen], truth[seen])[0, 1])


def _mouth(clip: Clip, size: int) -> tuple[slice, slice]:
    """The region around the lips of the whole clip."""
    x, y = np.mean(clip.card.lips, axis=0)
    x, y = (round(size * (0.5 + (value - 0.5) * clip.card.margin)) for value in (x, y))
    reach = round(0.2 * size)
    return slice(max(0, y - reach // 2), y + reach), slice(max(0, x - reach), x + reach)
