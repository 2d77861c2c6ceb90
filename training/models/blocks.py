"""Building blocks of the Wav2Lip family (Prajwal et al., 2020): convolution, batch norm, ReLU."""

import torch
from torch import Tensor, nn

_SMALL = 48


class Conv(nn.Module):
    """Convolution, batch norm, ReLU; with `residual` the input is added before the ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        y: Tensor = self.norm(_convolved(self.conv, x, training=self.training))
        return torch.relu(y + x if self.residual else y)


class Up(nn.Module):
    """Transposed convolution that doubles the size (or opens 1x1 to 3x3), batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, opening: bool = False) -> None:
        super().__init__()
        self.conv = (
            nn.ConvTranspose2d(inputs, outputs, 3, 1, 0, bias=False)
            if opening
            else nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False)
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, 2h, 2w)."""
        return torch.relu(self.norm(_convolved(self.conv, x, training=self.training)))


def _convolved(conv: nn.Module, x: Tensor, *, training: bool) -> Tensor:
    """The convolution; small maps train in fp32 on a CPU, even under autocast.

    oneDNN's bf16 weight gradients may take a slow path there, ten times as long for some shapes.
    """
    if not training or x.device.type != "cpu" or x.shape[-1] > _SMALL:
        y: Tensor = conv(x)
        return y
    with torch.autocast("cpu", enabled=False):
        exact: Tensor = conv(x.float())
    return exact


def residuals(width: int, count: int) -> list[nn.Module]:
    """`count` 3x3 convolutions that keep size and width."""
    return [Conv(width, width, residual=True) for _ in range(count)]
