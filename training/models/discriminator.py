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

FACE_SHARE = 0.7
"""Width of the face in the house's crop, share of its side: the crop leaves room around it, this does not."""

LOWER_TOP = 0.28
"""Where the lower half of that face begins in the crop, share of its height: under the nose."""

_EPS = 1e-6


def lower_half(pictures: Tensor, size: int) -> Tensor:
    """(n, 3, S, S) house crops of any size -> (n, 3, size / 2, size): the lower half of the face itself."""
    side = pictures.shape[-1]
    left, top = round((1 - FACE_SHARE) / 2 * side), round(LOWER_TOP * side)
    width, height = side - 2 * left, round(FACE_SHARE / 2 * side)
    part = pictures[..., top : top + height, left : left + width]
    return functional.interpolate(part, (size // 2, size), mode="bilinear", antialias=True)


def crop_side(size: int) -> int:
    """Side of the house crops in which the face's lower half is just `size` wide."""
    return round(size / FACE_SHARE / 2) * 2


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
        # No batch norm here: it would make every channel as lively as the next, whatever it has to say.
        self.compress = nn.Conv2d(widths[-1], size.embedding, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The embedding of five pictures."""
        for stage in self.stages:
            frames = stage(frames)
        return torch.relu(self.compress(frames))

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
        self.sound = AudioEncoder(size.ear, size.blocks, size.embedding, norm=False)
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


def stack_frames(pictures: Tensor, size: int) -> Tensor:
    """(n, 5, 3, S, S) crops in a row -> (n, 15, size / 2, size), input of a discriminator of that size."""
    halves = lower_half(pictures.flatten(0, 1), size)
    return halves.reshape(len(pictures), -1, *halves.shape[-2:])
