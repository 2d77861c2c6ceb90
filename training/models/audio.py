"""Encoders of the 200 ms log-mel window."""

import torch
from torch import Tensor, nn

from training.models.blocks import Conv, residuals

CODE = 12
"""Length of the mouth code (training.studio.visemes.VISEMES)."""

_RARE = -2.7
"""Bias of the code's logits at the start: every shape is rare, about 6 % of the time."""


class AudioEncoder(nn.Module):
    """(n, 1, 80, 16) log-mel window in [-4, 4] -> (n, outputs): Wav2Lip's audio encoder.

    Five modules: 80x16 -> 27x16 -> 9x6 -> 3x3 -> 1x1, as its generator and its sync expert have them; without
    `norm` the last convolution has no batch norm.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, outputs: int, *, norm: bool = True) -> None:
        super().__init__()
        a, b, c, d, e = widths
        last = Conv(e, outputs, 1, 1, 0) if norm else nn.Sequential(nn.Conv2d(e, outputs, 1), nn.ReLU())
        self.stages = nn.Sequential(
            nn.Sequential(Conv(1, a), *residuals(a, blocks)),
            nn.Sequential(Conv(a, b, 3, (3, 1), 1), *residuals(b, blocks)),
            nn.Sequential(Conv(b, c, 3, 3, 1), *residuals(c, blocks)),
            nn.Sequential(Conv(c, d, 3, (3, 2), 1), *residuals(d, blocks)),
            nn.Sequential(Conv(d, e, 3, 1, 0), last),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """The vector of the window."""
        vector: Tensor = self.stages(mel / 4)
        return vector.flatten(1)


class CodeEar(nn.Module):
    """(n, 1, 80, 16) log-mel window in [-4, 4] -> (n, CODE) mouth code in [0, 1]."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stages = nn.Sequential(
            Conv(1, a, 3, (2, 1), 1),
            Conv(a, b, 3, (2, 1), 1),
            Conv(b, c, 3, 2, 1),
            *residuals(c, 1),
            Conv(c, d, 3, 2, 1),
            *residuals(d, 1),
        )
        last = nn.Linear(256, CODE)
        nn.init.constant_(last.bias, _RARE)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(d * 5 * 4, 256), nn.ReLU(), last)

    def forward(self, mel: Tensor) -> Tensor:
        """The code of the moment that the window's tick shows."""
        return torch.sigmoid(self.head(self.stages(mel / 4)))
