"""The mouth code that a filmed picture shows, found by painting: where the ear and the seen lips disagree.

The ear tells what a sound usually looks like. What this person's lips did in this moment is another matter,
and a picture learned from the ear's guess is blurred by all that the guess leaves open. So each moment's code
is moved, from the ear's guess, to where the mouth as it is paints the filmed lips best.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.mouth.features import face_input
from engine.speech.mel import log_mel, window
from training import parallel
from training.clip_data import cut_clip, to_array
from training.clips import Clip, clip_folders, decode, read_card, read_clip, write_card
from training.losses import change_weight, mouth_weight
from training.models.generator import Parts
from training.train_ear import code_loss
from training.variation import Variation

_CLIPS = 4  # at once
_STEPS = 6
_RATE = 0.9  # of the code's logits
_TRUST = 0.004  # in the ear, against levels of the picture
_POOL = 4  # pixels: shapes count, not texture, which is not this person's yet
_EDGE = 0.02  # codes are kept this far from 0 and 1, where a logit has no end

Tell = Callable[[int, int], None]


def fit_codes(roots: Sequence[Path], parts: Parts, size: int, tell: Tell | None = None) -> float:
    """Writes the code of each picture into the cards of the clips below `roots` that have none yet.

    Returns by how much of the painting's error the fit is better than the ear, 0 where nothing was to do.
    """
    folders = [folder for folder in clip_folders(roots) if read_card(folder).code is None]
    before = after = 0.0
    for at in range(0, len(folders), _CLIPS):
        some = folders[at : at + _CLIPS]
        codes, error, rest = _fit([read_clip(folder) for folder in some], parts, size)
        before, after = before + error, after + rest
        for folder, code in zip(some, codes, strict=True):
            write_card(folder, replace(read_card(folder), code=np.round(code, 4).tolist()))
        if tell:
            tell(min(at + _CLIPS, len(folders)), len(folders))
    return 1 - after / before if before else 0.0


def _fit(clips: Sequence[Clip], parts: Parts, size: int) -> tuple[list[np.ndarray], float, float]:
    """Codes (n, CODE) of each clip, the error of the ear's and that of the fitted ones."""
    where = parallel.device()
    for network in parts.named().values():
        network.eval().requires_grad_(False).to(where)
    idle, target, mel, lips = (tensor.to(where) for tensor in _tensors(clips, size))
    counts = torch.tensor([clip.card.frames for clip in clips], device=where)
    with torch.no_grad(), torch.autocast(where.type, torch.bfloat16):
        skips = [skip.repeat_interleave(counts, dim=0) for skip in parts.face(idle)]
        heard = parts.ear(mel).float()
    still = idle[:, 3:].repeat_interleave(counts, dim=0)
    weight = functional.avg_pool2d(mouth_weight(lips, size) - 1 + change_weight(target, still), _POOL)
    weight, small = weight / weight.mean(), functional.avg_pool2d(target, _POOL)
    logits = torch.logit(heard.clamp(_EDGE, 1 - _EDGE)).requires_grad_(True)
    optimiser = torch.optim.Adam([logits], _RATE)
    best, least, first = heard, torch.full((len(heard),), inf, device=where), 0.0
    for step in range(_STEPS):
        code = torch.sigmoid(logits)
        with torch.autocast(where.type, torch.bfloat16):
            picture = parts.decoder(code, skips)
        error = ((functional.avg_pool2d(picture.float(), _POOL) - small).abs() * weight).mean(dim=(1, 2, 3))
        better = error.detach() < least
        best = torch.where(better[:, None], code.detach(), best)
        least = torch.where(better, error.detach(), least)
        first = first or float(error.detach().mean())
        optimiser.zero_grad()
        # Every moment has its own code, so sums, not means, keep the step's size.
        (error.sum() + len(code) * _TRUST * code_loss(code, heard)).backward()  # type: ignore[no-untyped-call]
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - (step + 1) / (_STEPS + 1))
        optimiser.step()
    for network in parts.named().values():
        network.requires_grad_(True)
    edges = np.cumsum([clip.card.frames for clip in clips])[:-1]
    return np.split(best.cpu().numpy(), edges), first, float(least.mean())


def _tensors(clips: Sequence[Clip], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Face input of each clip; target, mel window and lips of each picture."""
    plain = Variation()
    idles, targets, mels, lips = [], [], [], []
    for clip in clips:
        card = clip.card
        assert clip.idle is not None
        cuts = [cut_clip(decode(one), card.margin, size, plain, None) for one in (clip.idle, *clip.pictures)]
        idles.append(cuts[0])
        targets.append(to_array(cuts[1:]))
        spectrogram = log_mel(clip.samples)
        mels += [window(spectrogram, card.lead + tick)[None] for tick in range(card.frames)]
        lips += [plain.moved(one, card.margin) for one in card.lips]
    return (
        torch.from_numpy(face_input(np.stack(idles))),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.stack(mels)),
        torch.tensor(lips),
    )
