"""What was filmed of a person and kept for judging, so that an interrupted course need not look again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from engine.evaluate.track import Track
from engine.speech.audio import Samples

_SHAPES = ("jawOpen", "mouthPucker")


@dataclass(frozen=True, slots=True)
class Filmed:
    """A stretch of footage: its faces, 16 kHz sound, and the crop (S, S, 3) of each picture with one."""

    faces: Track
    samples: Samples
    mouths: list[Picture]


def write_filmed(path: Path, one: Filmed) -> None:
    """Keeps `one` as the file `path` (.npz)."""
    faces = one.faces.faces
    points = [np.full((478, 2), np.nan, np.float32) if face is None else face.landmarks for face in faces]
    shapes = [[np.nan if face is None else face.blendshapes[name] for name in _SHAPES] for face in faces]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, points=np.stack(points), shapes=np.array(shapes, np.float32), size=np.array(one.faces.size),
        samples=one.samples, mouths=np.stack(one.mouths), video=np.array(one.faces.video.name),
    )  # fmt: skip


def read_filmed(path: Path) -> Filmed:
    """What `write_filmed` kept."""
    with np.load(path) as held:
        faces: list[Face | None] = [
            None if np.isnan(points).any() else Face(points, dict(zip(_SHAPES, map(float, row), strict=True)))
            for points, row in zip(held["points"], held["shapes"], strict=True)
        ]
        width, height = (int(side) for side in held["size"])
        track = Track(Path(str(held["video"])), (width, height), faces)
        return Filmed(track, held["samples"], list(held["mouths"]))
