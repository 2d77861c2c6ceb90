"""The lip generator, split where live and cached work part.

FaceEncoder sees only the anchor picture, so it runs once a frame of the anchor. Ear and Decoder run
for every tick. Between them lies the code: a bottleneck of named mouth shapes, so that the picture
can be learned from the true code, the ear from all speech there is, and both joined afterwards.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.blocks import Conv, Up, residuals
from training.models.presets import Preset

CODE = 12
"""Length of the mouth code (training.studio.visemes.VISEMES)."""


_RARE = -2.7
"""Bias of the code's logits at the start: every shape is rare, about 6 % of the time."""

_REACH = 0.98
"""The idle picture enters the output's tanh scaled by this, where its inverse is still tame."""


class FaceEncoder(nn.Module):
    """(n, 6, S, S) masked and whole idle picture -> skips, largest first, the last one 1x1.

    The first skip is the idle picture before the output's tanh, so that the decoder paints what
    changes and keeps the skin that it was given. It may: the idle picture never shows speech.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = preset.widths
        modules: list[nn.Module] = [Conv(6, widths[0], 7, 1, 3)]
        for inputs, outputs in itertools.pairwise(widths):
            modules.append(nn.Sequential(Conv(inputs, outputs, 3, 2, 1), *residuals(outputs, preset.blocks)))
        modules.append(
            nn.Sequential(Conv(widths[-1], widths[-1], 3, 1, 0), Conv(widths[-1], widths[-1], 1, 1, 0))
        )
        self.stages = nn.ModuleList(modules)

    def forward(self, face: Tensor) -> list[Tensor]:
        """The idle picture and all feature maps, len(widths) + 2 of them."""
        skips = [torch.atanh(face[:, 3:] * _REACH)]
        for stage in self.stages:
            face = stage(face)
            skips.append(face)
        return skips


class Ear(nn.Module):
    """(n, 1, 80, 16) log-mel window in [-4, 4] -> (n, CODE) mouth code in [0, 1]."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b, c, d = preset.ear
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


def _film(inputs: int, channels: int) -> nn.Conv2d:
    """Scale and shift for `channels`; starts as neither."""
    film = nn.Conv2d(inputs, 2 * channels, 1)
    for parameter in film.parameters():
        nn.init.zeros_(parameter)
    return film


class Decoder(nn.Module):
    """Code and skips -> (n, 3, S, S) picture in [-1, 1].

    The code enters at the bottleneck, as in the seed, and also scales and shifts the channels of every
    stage (FiLM, Perez et al., 2018): from the bottleneck alone it took several times as many steps
    until the lips followed it.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = preset.widths
        deepest = widths[-1]
        self.embed = nn.Sequential(
            nn.Linear(CODE, deepest), nn.ReLU(), nn.Linear(deepest, deepest), nn.ReLU()
        )
        self.open = nn.Sequential(Up(2 * deepest, deepest, opening=True), *residuals(deepest, preset.blocks))
        stages: list[nn.Module] = []
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True):
            stages.append(nn.Sequential(Up(2 * inputs, outputs), *residuals(outputs, preset.blocks)))
        self.stages = nn.ModuleList(stages)
        self.films = nn.ModuleList(_film(deepest, outputs) for outputs in widths[-2::-1])
        last = nn.Conv2d(2 * widths[0], 3, 1)
        nn.init.zeros_(last.weight)
        # Starts as the idle picture itself.
        self.output = nn.Sequential(Conv(2 * widths[0], 2 * widths[0]), last)

    def forward(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """Paints the mouth that `code` names into the face that `skips` describe."""
        embedded = self.embed(code)[:, :, None, None]
        x = self.open(torch.cat([embedded, skips[-1]], dim=1))
        for stage, film, skip in zip(self.stages, self.films, skips[-2:1:-1], strict=True):
            up, *rest = stage.children()
            scale, shift = film(embedded).chunk(2, dim=1)
            x = up(torch.cat([x, skip], dim=1)) * (1 + scale) + shift
            for block in rest:
                x = block(x)
        return torch.tanh(self.output(torch.cat([x, skips[1]], dim=1)) + skips[0]) / _REACH


class MouthDecoder(nn.Module):
    """The live half: mel and skips in, picture out."""

    def __init__(self, ear: Ear, decoder: Decoder) -> None:
        super().__init__()
        self.ear = ear
        self.decoder = decoder

    def forward(self, mel: Tensor, *skips: Tensor) -> Tensor:
        """(n, 1, 80, 16) and the skips -> (n, 3, S, S)."""
        picture: Tensor = self.decoder(self.ear(mel), list(skips))
        return picture


@dataclass(frozen=True, slots=True)
class Parts:
    """The three networks of one generator."""

    face: FaceEncoder
    ear: Ear
    decoder: Decoder

    @classmethod
    def create(cls, preset: Preset) -> "Parts":
        """Fresh networks of a preset."""
        return cls(FaceEncoder(preset), Ear(preset), Decoder(preset))

    def named(self) -> dict[str, nn.Module]:
        """The networks by the names under which checkpoints keep them."""
        return {"face": self.face, "ear": self.ear, "decoder": self.decoder}
