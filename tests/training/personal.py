"""A person painted from numbers: their avatar, their footage, and mouths small enough to train in a test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.card import read_card, write_card
from engine.anchor.tracker import Face
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from tests import films
from tests.fakes import FakeTracker, make_avatar, speech_like
from tests.tiny_mouth import write_tiny_mouth
from tests.training.footage import syllables, toml
from training.models import presets
from training.models.presets import DiscriminatorSize, Preset

SMALL = Preset(
    name="small",
    size=48,
    widths=(4, 6, 8, 8, 8),
    blocks=1,
    ear=(4, 6, 8, 8),
    code=12,
    film=True,
    from_idle=True,
    discriminator=DiscriminatorSize((4, 6, 8, 8, 8), 1, (4, 4, 6, 6, 8), 8),
)
"""The shape of the shipped mouth at 48 pixels."""

BLIND = replace(SMALL, name="blind", from_idle=False)
"""A mouth that does not start from the resting face."""


@contextmanager
def small_presets(folder: Path) -> Iterator[None]:
    """Makes SMALL and BLIND known beside the presets that there are."""
    real = presets._FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file in real.glob("*.toml"):
        shutil.copy(file, folder)
    for plan in (SMALL, BLIND):
        content = asdict(plan)
        judge = content.pop("discriminator")
        content.pop("name")
        (folder / f"{plan.name}.toml").write_text("\n".join([toml(content), "[discriminator]", toml(judge)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "_FOLDER", folder)
        presets.preset.cache_clear()
        yield
    presets.preset.cache_clear()


def make_person(root: Path, mouth: Path | None = None) -> Path:
    """The fake avatar with crops of 48 pixels; its mouth is `mouth`, else one that opens with loudness."""
    folder = make_avatar(root, "person")
    write_card(folder, replace(read_card(folder), crop_size=SMALL.size))
    shutil.rmtree(folder / "mouth")
    if mouth is None:
        write_tiny_mouth(folder / "mouth", SMALL.size)
    else:
        shutil.copytree(mouth, folder / "mouth")
    return folder


def level_of(samples: Samples) -> NDArray[np.float64]:
    """(ticks,) how loud each tick is, in [0, 1]."""
    ticks = samples[: samples.size // SAMPLES_PER_TICK * SAMPLES_PER_TICK].reshape(-1, SAMPLES_PER_TICK)
    loud = np.sqrt(np.mean(ticks.astype(np.float64) ** 2, axis=1))
    return np.asarray(loud / max(float(loud.max()), 1e-9))


def film_person(path: Path, seconds: float, *, silent_s: float = 1.0, seed: int = 0) -> Path:
    """Footage: silence with a closed mouth, then speech whose mouth opens as far as it is loud."""
    quiet = np.zeros(round(silent_s * 25) * SAMPLES_PER_TICK, np.float32)
    samples = np.concatenate([quiet, _babble(seconds, seed)])
    samples = samples[: samples.size // SAMPLES_PER_TICK * SAMPLES_PER_TICK]
    gapes = np.where(level_of(samples) > 0.02, 0.02 + 0.07 * level_of(samples), 0)
    return films.write(path, films.faces(gapes), samples)


def _babble(seconds: float, seed: int) -> Samples:
    """Syllables that never repeat, so that another moment's sound does not fit this one's mouth."""
    spoken = speech_like(seconds, seed)
    level = 0.15 + 0.85 * syllables(-(-spoken.size // SAMPLES_PER_TICK), seed)
    middle = (np.arange(level.size) + 0.5) * SAMPLES_PER_TICK
    return np.asarray(spoken * np.interp(np.arange(spoken.size), middle, level), np.float32)


class TurnedTracker(FakeTracker):
    """Sees every head turned to the side."""

    def track(self, rgb: NDArray[np.uint8], timestamp_ms: int) -> Face | None:
        """The fake face with its nose far to one side."""
        face = super().track(rgb, timestamp_ms)
        if face is None:
            return None
        points = face.landmarks.copy()
        points[[1, 4, 5, 195, 197, 2]] += (0.12 * rgb.shape[1], 0)
        return Face(points, face.blendshapes)
