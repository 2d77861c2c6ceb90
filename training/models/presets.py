"""The sizes of the networks, read from the plain files in training/presets."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.errors import KouboError

_FOLDER = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True, slots=True)
class DiscriminatorSize:
    """Size of the lip-sync discriminator.

    widths: channels of face modules 1 to N; blocks: residual convolutions a module; ear: channels of the
    audio encoder; embedding: length of the vectors whose cosine is the judgement.
    """

    widths: tuple[int, ...]
    blocks: int
    ear: tuple[int, ...]
    embedding: int


@dataclass(frozen=True, slots=True)
class Preset:
    """One size of the generator and of its discriminator.

    size: picture side in pixels, 3 * 2 ** (len(widths) - 1); widths: channels from full size down
    to 3x3; blocks: residual convolutions a module; ear: channels of the audio encoder; code: length of
    the mouth code between ear and decoder, 0 for the seed's plain vector; film: whether the code also
    scales and shifts every decoder stage; from_idle: whether the output starts from the idle picture.
    """

    name: str
    size: int
    widths: tuple[int, ...]
    blocks: int
    ear: tuple[int, ...]
    code: int
    film: bool
    from_idle: bool
    discriminator: DiscriminatorSize


def preset_names() -> list[str]:
    """Names of all presets."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


@cache
def preset(name: str) -> Preset:
    """The preset called `name`; KouboError for an unknown one."""
    if name not in preset_names():
        raise KouboError(f"There is no preset called {name}; choose one of {', '.join(preset_names())}.")
    content: dict[str, Any] = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    judge = content.pop("discriminator")
    return Preset(name=name, discriminator=DiscriminatorSize(**_tuples(judge)), **_tuples(content))


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
