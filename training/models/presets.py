"""The generator's sizes as plain data."""

from dataclasses import dataclass

from engine.errors import KouboError


@dataclass(frozen=True, slots=True)
class Preset:
    """One size of the generator.

    size: picture side in pixels, 3 * 2 ** (len(widths) - 1); widths: channels from full size down
    to 3x3; blocks: residual convolutions a module; ear: channels of the audio encoder.
    """

    name: str
    size: int
    widths: tuple[int, ...]
    blocks: int
    ear: tuple[int, ...]


PRESETS = {
    "lite192": Preset("lite192", 192, (12, 32, 64, 96, 128, 160, 160), 1, (16, 24, 32, 64)),
}


def preset(name: str) -> Preset:
    """The preset called `name`; KouboError for an unknown one."""
    if name not in PRESETS:
        raise KouboError(f"There is no preset called {name}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
