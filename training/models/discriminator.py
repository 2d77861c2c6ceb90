"""The lip-sync discriminator: do five pictures of a mouth and 200 ms of sound belong together?"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.audio import AudioEncoder
from training.models.blocks import Conv, residuals
from training.models.presets import Preset

FRAMES = 5
"""Pictures in a row that are judged: 200 ms."""

LOWER_TOP = 0.3
"""Where the judged half of the house's crop begins, share of its height: under the nose.

The crop starts at the eyes already, so the half of it that holds mouth and chin lies here, not at 0.5.
"""

_EPS = 1e-6


def lower_half(pictures: Tensor) -> Tensor:
    """(..., S, S) crops -> (..., S / 2, S): the rows that hold mouth and jaw."""
    side = pictures.shape[-2]
    top = round(LOWER_TOP * side)
    return pictures[..., top : top + side // 2, :]


class FaceBranch(nn.Module):
    """(n, 15, S / 2, S) five stacked lower halves -> (n, embedding, 1, 1), not negative.

    Module 1 keeps the size (7x7), module 2 halves the width only, the others halve both down to 3x3, the
    last closes with padding 0; a 1x1 convolution compresses the channels.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        size = preset.discriminator
        widths = size.widths
        modules: list[nn.Module] = [Conv(3 * FRAMES, widths[0], 7, 1, 3)]
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=2):
            stride = (1, 2) if number == 2 else 2
            modules.append(
                nn.Sequential(Conv(inputs, outputs, 3, stride, 1), *residuals(outputs, size.blocks))
            )
        modules.append(Conv(widths[-1], widths[-1], 3, 1, 0))
        self.stages = nn.ModuleList(modules)
        self.compress = Conv(widths[-1], size.embedding, 1, 1, 0)

    def forward(self, frames: Tensor) -> Tensor:
        """The embedding of five pictures."""
        for stage in self.stages:
            frames = stage(frames)
        embedding: Tensor = self.compress(frames)
        return embedding

    def maps(self, frames: Tensor, count: int) -> list[Tensor]:
        """What the first `count` modules see: features for a perceptual loss."""
        found = []
        for stage in self.stages[:count]:
            frames = stage(frames)
            found.append(frames)
        return found


class Discriminator(nn.Module):
    """Two branches whose embeddings meet in a cosine; a last convolution and a sigmoid give the verdict.

    P_sync = (v . s) / max(|v| |s|, eps); both embeddings end in a ReLU, so P_sync is in [0, 1].
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        size = preset.discriminator
        self.face = FaceBranch(preset)
        self.sound = AudioEncoder(size.ear, size.blocks, size.embedding)
        self.last = nn.Conv2d(size.embedding, 1, 1)

    def see(self, frames: Tensor) -> Tensor:
        """(n, 15, S / 2, S) in [-1, 1] -> (n, embedding) of length 1."""
        return functional.normalize(self.face(frames).flatten(1).float(), dim=1, eps=_EPS)

    def hear(self, mel: Tensor) -> Tensor:
        """(n, 1, 80, 16) -> (n, embedding) of length 1."""
        return functional.normalize(self.sound(mel).float(), dim=1, eps=_EPS)

    def compare(self, seen: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """P_sync (n,) in [0, 1], and the logit (n,) of the verdict "in sync"."""
        product = seen * heard
        verdict: Tensor = self.last(product[:, :, None, None])
        return product.sum(dim=1), verdict.flatten()

    def forward(self, frames: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Both judgements of five pictures and their sound."""
        return self.compare(self.see(frames), self.hear(mel))


def stack_frames(pictures: Tensor) -> Tensor:
    """(n, 5, 3, S, S) crops in a row -> (n, 15, S / 2, S), the discriminator's input."""
    return torch.flatten(lower_half(pictures), 1, 2)
