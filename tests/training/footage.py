"""Small clips whose sound and mouth are known, and a preset that trains in milliseconds."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from training.clips import MARGIN, Clip, ClipCard, encode, read_clip, write_clip
from training.models import presets
from training.models.audio import CODE
from training.models.presets import DiscriminatorSize, Preset

SIDE = 64
"""Side of the stored pictures."""

LEAD = 20
LIPS = (0.5, 0.52)
"""Where the painted mouth is, in [0, 1] of the stored square."""

TINY = Preset(
    name="tiny",
    size=48,
    widths=(4, 6, 8, 8, 8),
    blocks=1,
    ear=(4, 4, 6, 6, 8),
    code=0,
    film=False,
    from_idle=False,
    discriminator=DiscriminatorSize((4, 6, 8, 8, 8), 1, (4, 4, 6, 6, 8), 8),
)
"""The seed's shape at 48 pixels with next to no channels."""

QUICK = Preset(
    name="quick",
    size=48,
    widths=(8, 16, 24, 32, 32),
    blocks=1,
    ear=(8, 12, 16, 24, 32),
    code=0,
    film=False,
    from_idle=False,
    discriminator=DiscriminatorSize((8, 12, 16, 24, 32), 0, (8, 12, 16, 24, 32), 32),
)
"""Wide enough to learn what a mouth does, small enough to do so within a test."""


def use_presets(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes TINY and QUICK known by their names, and no others."""
    folder.mkdir(exist_ok=True)
    for plan in (TINY, QUICK):
        content = asdict(plan)
        judge = content.pop("discriminator")
        content.pop("name")
        lines = [toml(content), "[discriminator]", toml(judge)]
        (folder / f"{plan.name}.toml").write_text("\n".join(lines))
    monkeypatch.setattr(presets, "_FOLDER", folder)


def toml(table: dict[str, object]) -> str:
    """A flat table as TOML."""

    def shown(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return str(list(value)) if isinstance(value, tuple) else str(value)

    return "\n".join(f"{key} = {shown(value)}" for key, value in table.items())


def paint_mouth(opening: float, side: int = SIDE, shade: int = 0) -> Picture:
    """RGB (side, side, 3): skin with a dark mouth at LIPS, `opening` in [0, 1]; `shade` tells faces apart."""
    picture = np.full((side, side, 3), (200 - shade, 160 - shade // 2, 140), np.uint8)
    picture[: side // 8] = (60, 40, 30)  # brows, so that up and down differ
    centre = (round(LIPS[0] * side * 16) - 8, round(LIPS[1] * side * 16) - 8)
    axes = (round(side * 16 * 0.17), round(side * 16 * (0.015 + 0.16 * opening)))
    cv2.ellipse(picture, centre, axes, 0, 0, 360, (70, 20, 30), -1, cv2.LINE_AA, 4)
    return picture


def syllables(ticks: int, seed: int) -> NDArray[np.float64]:
    """(ticks,) loudness in [0, 1] that never repeats: syllables of random length and strength."""
    random = np.random.default_rng(seed)
    level = np.zeros(0)
    while level.size < ticks:
        rise = np.sin(np.linspace(0, np.pi, int(random.integers(3, 8)))) * random.uniform(0.3, 1)
        level = np.concatenate([level, rise, np.zeros(int(random.integers(0, 4)))])
    return level[:ticks]


def voiced(level: NDArray[np.float64], seed: int = 0) -> Samples:
    """A buzz with that loudness in each tick, in steps of 40 ms smoothed at their edges."""
    count = level.size * SAMPLES_PER_TICK
    middle = (np.arange(level.size) + 0.5) * SAMPLES_PER_TICK
    loud = np.interp(np.arange(count), middle, level)
    phase = np.cumsum(np.full(count, 2 * np.pi * (120 + 3 * (seed % 10)) / 16_000))
    buzz = sum(np.sin(harmonic * phase) / harmonic**0.5 for harmonic in range(1, 20))
    hiss = np.random.default_rng(seed).normal(0, 1, count)
    return np.asarray(0.05 * loud * (buzz + 0.5 * hiss), np.float32)


def write_talking(
    folder: Path,
    frames: int,
    *,
    seed: int = 0,
    idle: bool = False,
    coded: bool = False,
    late: int = 0,
    side: int = SIDE,
    person: str = "Ada",
) -> Path:
    """A clip whose mouth opens with its loudness; `late` ticks pass until the sound follows."""
    level = syllables(frames + 2 * LEAD + 2 * abs(late), seed)
    heard = level[abs(late) : abs(late) + frames + 2 * LEAD]
    shown = level[abs(late) + late + LEAD : abs(late) + late + LEAD + frames]
    # Every channel has its own favourite opening, as shapes of the mouth have.
    favourite = np.linspace(0, 1, CODE)
    code = np.exp(-0.5 * ((shown[:, None] - favourite) / 0.12) ** 2)
    pictures = [encode(paint_mouth(float(value), side, 8 * (seed % 5))) for value in shown]
    return write(
        folder,
        pictures,
        voiced(heard, seed),
        idle=encode(paint_mouth(0.0, side, 8 * (seed % 5))) if idle else None,
        code=code.tolist() if coded else None,
        side=side,
        person=person,
    )


def write(
    folder: Path,
    pictures: Sequence[bytes],
    samples: Samples,
    *,
    idle: bytes | None = None,
    code: list[list[float]] | None = None,
    side: int = SIDE,
    lead: int = LEAD,
    person: str = "Ada",
) -> Path:
    """Any pictures and sound as a clip."""
    card = ClipCard(
        person, "film.mp4", 1.5, len(pictures), side, MARGIN, lead, [list(LIPS)] * len(pictures),
        idle=idle is not None, code=code,
    )  # fmt: skip
    write_clip(folder, card, pictures, samples, idle)
    return folder


def talking(root: Path, count: int, frames: int, **kind: bool | int) -> list[Clip]:
    """`count` talking clips below `root`, read back."""
    return [
        read_clip(write_talking(root / f"{number:04d}", frames, seed=number, **kind))  # type: ignore[arg-type]
        for number in range(count)
    ]
