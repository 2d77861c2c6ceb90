"""What a good mouth is, as numbers to minimise.

L1 and MS-SSIM (Wang et al., 2003, through pytorch-msssim) with weight on the mouth, and an L1 on the
image gradients, which keeps the edges of lips and teeth that L1 alone averages away.
"""

from dataclasses import dataclass

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the loss terms; what is left of 1 goes to L1."""

    ms_ssim: float = 0.15
    gradient: float = 0.35


def mouth_weight(lips: Tensor, size: int) -> Tensor:
    """(n, 1, size, size): 1 everywhere, rising to 5 at the lips, whose centres (n, 2) are in [0, 1]."""
    grid = (torch.arange(size) + 0.5) / size
    across = torch.exp(-0.5 * ((grid[None] - lips[:, :1]) / 0.17) ** 2)
    down = torch.exp(-0.5 * ((grid[None] - lips[:, 1:] - 0.05) / 0.16) ** 2)
    weight: Tensor = 1 + 4 * (down[:, :, None] * across[:, None, :])[:, None]
    return weight


def change_weight(target: Tensor, idle: Tensor) -> Tensor:
    """(n, 1, S, S): up to 6 more where speech changes the picture, 0 where skin stays as it was."""
    change = (target - idle).abs().mean(dim=1, keepdim=True)
    return 6 * (torch.nn.functional.avg_pool2d(change, 9, 1, 4) / 0.25).clamp(max=1)


def picture_loss(picture: Tensor, target: Tensor, idle: Tensor, lips: Tensor, weights: Weights) -> Tensor:
    """Loss of pictures (n, 3, S, S) in [-1, 1] against the truth, given the idle picture behind them."""
    weight = mouth_weight(lips, picture.shape[-1]) + change_weight(target, idle)
    weight = weight / weight.mean()
    l1 = ((picture - target).abs() * weight).mean()
    # The dearest term by far on a CPU: a quarter of the batch gives an unbiased estimate.
    part = slice(0, max(1, len(picture) // 4))
    structure = 1 - ms_ssim((picture[part] + 1) / 2, (target[part] + 1) / 2, data_range=1.0)
    left = 1 - weights.ms_ssim - weights.gradient
    edges = gradient_loss(picture, target, weight)
    loss: Tensor = left * l1 + weights.ms_ssim * structure + weights.gradient * edges
    return loss


def gradient_loss(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences, at full and at half size."""
    total = picture.new_zeros(())
    for _ in range(2):
        for axis in (2, 3):
            difference = (picture.diff(dim=axis) - target.diff(dim=axis)).abs()
            total = total + (difference * weight.narrow(axis, 0, difference.shape[axis])).mean()
        picture, target, weight = (torch.nn.functional.avg_pool2d(x, 2) for x in (picture, target, weight))
    return total
