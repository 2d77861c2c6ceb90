"""The lip generator, split where live and cached work part.

FaceEncoder sees only the anchor picture, so it runs once a frame of the anchor. Ear and Decoder run
for every tick. Between them lies the sound's vector: in the seed's own shape whatever the audio
encoder makes of it; in presets with a code, a bottleneck of named mouth shapes, so that the picture
can be learned from the true code, the ear from all speech there is, and both joined afterwards.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.audio import AudioEncoder, CodeEar
from training.models.blocks import Conv, Up, residuals
from training.models.presets import Preset

_REACH = 0.98
"""The idle picture enters the output's tanh scaled by this, where its inverse is still tame."""


class FaceEncoder(nn.Module):
    """(n, 6, S, S) masked target and whole reference picture -> maps, largest first, the last one 1x1.

    Module 1 keeps the size (7x7), each further one halves it down to 3x3, the last closes it with padding 0.
    With `from_idle` the first map is the reference before the output's tanh, so that the decoder paints what
    changes and keeps the skin that it was given. It may only where the reference never shows speech.
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
        self.from_idle = preset.from_idle

    def forward(self, face: Tensor) -> list[Tensor]:
        """All feature maps, len(widths) + 1 of them, and before them the idle picture with `from_idle`."""
        skips = [torch.atanh(face[:, 3:] * _REACH)] if self.from_idle else []
        for stage in self.stages:
            face = stage(face)
            skips.append(face)
        return skips


def _film(inputs: int, channels: int) -> nn.Conv2d:
    """Scale and shift for `channels`; starts as neither."""
    film = nn.Conv2d(inputs, 2 * channels, 1)
    for parameter in film.parameters():
        nn.init.zeros_(parameter)
    return film


class Decoder(nn.Module):
    """The sound's vector and the face's maps -> (n, 3, S, S) picture in [-1, 1].

    The vector enters at the bottleneck; deconvolutions double the size back to S, each fed the face's map of
    its size; tanh at the end. With `film` the code also scales and shifts the channels of every stage (FiLM,
    Perez et al., 2018): from the bottleneck alone it took several times as many steps until lips followed.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = preset.widths
        deepest = widths[-1]
        self.from_idle = preset.from_idle
        self.embed: nn.Module = nn.Identity()
        if preset.code:
            self.embed = nn.Sequential(
                nn.Linear(preset.code, deepest), nn.ReLU(), nn.Linear(deepest, deepest), nn.ReLU()
            )
        self.open = nn.Sequential(Up(2 * deepest, deepest, opening=True), *residuals(deepest, preset.blocks))
        stages: list[nn.Module] = []
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True):
            stages.append(nn.Sequential(Up(2 * inputs, outputs), *residuals(outputs, preset.blocks)))
        self.stages = nn.ModuleList(stages)
        outputs_of = widths[-2::-1] if preset.film else ()
        self.films = nn.ModuleList(_film(deepest, outputs) for outputs in outputs_of)
        last = nn.Conv2d(2 * widths[0], 3, 1)
        if self.from_idle:  # starts as the idle picture itself
            nn.init.zeros_(last.weight)
        self.output = nn.Sequential(Conv(2 * widths[0], 2 * widths[0]), last)

    def forward(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """Paints the mouth that `code` names into the face that `skips` describe."""
        maps = skips[1:] if self.from_idle else skips
        embedded = self.embed(code)[:, :, None, None]
        x = self.open(torch.cat([embedded, maps[-1]], dim=1))
        for index, (stage, skip) in enumerate(zip(self.stages, maps[-2:0:-1], strict=True)):
            up, *rest = stage.children()
            x = up(torch.cat([x, skip], dim=1))
            if self.films:
                scale, shift = self.films[index](embedded).chunk(2, dim=1)
                x = x * (1 + scale) + shift
            for block in rest:
                x = block(x)
        x = self.output(torch.cat([x, maps[0]], dim=1))
        return torch.tanh(x + skips[0]) / _REACH if self.from_idle else torch.tanh(x)


class MouthDecoder(nn.Module):
    """The live half: mel and skips in, picture out."""

    def __init__(self, ear: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.ear = ear
        self.decoder = decoder

    def forward(self, mel: Tensor, *skips: Tensor) -> Tensor:
        """(n, 1, 80, 16) and the skips -> (n, 3, S, S)."""
        picture: Tensor = self.decoder(self.ear(mel), list(skips))
        return picture


def create_ear(preset: Preset) -> nn.Module:
    """The audio encoder of a preset: to the mouth code, or to the bottleneck's plain vector."""
    if preset.code:
        return CodeEar(preset.ear)
    return AudioEncoder(preset.ear, preset.blocks, preset.widths[-1])


@dataclass(frozen=True, slots=True)
class Parts:
    """The three networks of one generator."""

    face: FaceEncoder
    ear: nn.Module
    decoder: Decoder

    @classmethod
    def create(cls, preset: Preset) -> "Parts":
        """Fresh networks of a preset."""
        return cls(FaceEncoder(preset), create_ear(preset), Decoder(preset))

    def named(self) -> dict[str, nn.Module]:
        """The networks by the names under which checkpoints keep them."""
        return {"face": self.face, "ear": self.ear, "decoder": self.decoder}
