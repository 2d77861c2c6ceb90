"""What a good mouth is, as numbers to minimise.

The seed's generator loss, L = a1 L_sync + a2 L_perceptual + a3 L_ms_ssim + (1 - a1 - a2 - a3) L1, with two
additions: an L1 on the image gradients (a share of its own, 0 in the seed) and weight on the mouth and on
what speech changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor
from torch.nn import functional

from engine.errors import KouboError

_EPS = 1e-4
_SSIM_WINDOW = 11


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the loss terms; what is left of 1 goes to L1.

    warm_up: steps over which the sync term rises to its share from 0, so that it does not push noise around.
    """

    sync: float = 0.0
    perceptual: float = 0.0
    ms_ssim: float = 0.15
    gradient: float = 0.35
    warm_up: int = 200

    def __post_init__(self) -> None:
        shares = (self.sync, self.perceptual, self.ms_ssim, self.gradient)
        if min(shares) < 0 or sum(shares) > 1:
            raise KouboError(
                f"The shares of the loss terms (sync {self.sync}, perceptual {self.perceptual}, ms-ssim "
                f"{self.ms_ssim}, gradient {self.gradient}) must not be negative nor exceed 1 together."
            )

    @property
    def l1(self) -> float:
        """What is left for L1."""
        return 1 - self.sync - self.perceptual - self.ms_ssim - self.gradient

    def sync_at(self, step: int) -> float:
        """The sync term's share at a step."""
        return self.sync * min(1.0, step / max(1, self.warm_up))


def sync_loss(p_sync: Tensor, right: Tensor) -> Tensor:
    """Binary cross-entropy on the cosine P_sync in [0, 1] (any shape), right and wrong counting the same."""
    # fp32: bf16 has no numbers between 0.996 and 1.
    p = p_sync.float().clamp(_EPS, 1 - _EPS)
    return functional.binary_cross_entropy(p, right, weight=balance(right))


def balance(right: Tensor) -> Tensor:
    """Weights that let right (1) and wrong (0) count the same, however many there are of each."""
    share = right.mean()
    if share in (0, 1):
        return torch.ones_like(right)
    return torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))


def feature_loss(ours: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Mean L1 between feature maps, each in units of the truth's mean size."""
    terms = [
        (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + _EPS)
        for a, b in zip(ours, truth, strict=True)
    ]
    return torch.stack(terms).mean()


def mouth_weight(lips: Tensor, size: int) -> Tensor:
    """(n, 1, size, size): 1 everywhere, rising to 5 at the lips, whose centres (n, 2) are in [0, 1]."""
    grid = (torch.arange(size, device=lips.device) + 0.5) / size
    across = torch.exp(-0.5 * ((grid[None] - lips[:, :1]) / 0.17) ** 2)
    down = torch.exp(-0.5 * ((grid[None] - lips[:, 1:] - 0.05) / 0.16) ** 2)
    weight: Tensor = 1 + 4 * (down[:, :, None] * across[:, None, :])[:, None]
    return weight


def change_weight(target: Tensor, idle: Tensor) -> Tensor:
    """(n, 1, S, S): up to 6 more where speech changes the picture, 0 where skin stays as it was."""
    change = (target - idle).abs().mean(dim=1, keepdim=True)
    return 6 * (functional.avg_pool2d(change, 9, 1, 4) / 0.25).clamp(max=1)


def picture_loss(
    picture: Tensor, target: Tensor, idle: Tensor | None, lips: Tensor, weights: Weights
) -> Tensor:
    """L1, MS-SSIM and gradient terms of pictures (n, 3, S, S) in [-1, 1] with their shares.

    `idle` is the picture behind each, where there is one at the same pose.
    """
    weight = mouth_weight(lips, picture.shape[-1])
    if idle is not None:
        weight = weight + change_weight(target, idle)
    weight = weight / weight.mean()
    loss: Tensor = weights.l1 * ((picture - target).abs() * weight).mean()
    if weights.ms_ssim:
        # The dearest term by far on a CPU: a quarter of the batch gives an unbiased estimate.
        part = slice(0, max(1, len(picture) // 4))
        loss = loss + weights.ms_ssim * structure_loss(picture[part], target[part])
    if weights.gradient:
        loss = loss + weights.gradient * gradient_loss(picture, target, weight)
    return loss


def structure_loss(picture: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al., 2003); below 161 px the window shrinks, for it must fit the fifth scale."""
    ours, truth = (picture.float() + 1) / 2, (target.float() + 1) / 2
    window = min(_SSIM_WINDOW, (picture.shape[-1] - 1) // 16 | 1)
    loss: Tensor = 1 - ms_ssim(ours, truth, data_range=1.0, win_size=window)
    return loss


def gradient_loss(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences, at full and at half size."""
    total = picture.new_zeros(())
    for _ in range(2):
        for axis in (2, 3):
            difference = (picture.diff(dim=axis) - target.diff(dim=axis)).abs()
            total = total + (difference * weight.narrow(axis, 0, difference.shape[axis])).mean()
        picture, target, weight = (functional.avg_pool2d(x, 2) for x in (picture, target, weight))
    return total
