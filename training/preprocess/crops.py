"""Step 7, second half: the smoothed squares of a clip, and one clip as it grows picture by picture."""

from dataclasses import dataclass, field

import numpy as np

from engine.anchor.crop import Crop, Picture, extract, smooth_crops
from training.clips import cut, padded
from training.preprocess.cuts import Span
from training.preprocess.embedder import FaceEmbedder, Vector
from training.preprocess.faces import Table, crop_at, lips_at
from training.preprocess.persons import moments


@dataclass(slots=True)
class Growing:
    """A clip while the source is read: stored pictures, pictures for the judge, lips, face vectors."""

    span: Span
    crops: list[Crop]
    pictures: list[bytes] = field(default_factory=list)
    judged: list[Picture] = field(default_factory=list)
    lips: list[list[float]] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Pictures that the finished clip will hold."""
        return self.span.last - self.span.first

    def vector(self) -> Vector:
        """The mean face of the clip."""
        return np.asarray(np.mean(self.vectors, axis=0), np.float32)


def begin(table: Table, span: Span) -> Growing:
    """A clip without pictures; its squares are smoothed over time (engine.anchor.crop.smooth_crops)."""
    return Growing(span, smooth_crops([crop_at(table, index) for index in range(span.first, span.last)]))


def grow(
    clip: Growing,
    frame: Picture,
    table: Table,
    index: int,
    *,
    size: int,
    judged_size: int | None,
    embedder: FaceEmbedder,
) -> None:
    """Adds picture `index` of the source, an RGB frame."""
    number = index - clip.span.first
    crop = clip.crops[number]
    wide = padded(crop)
    clip.pictures.append(cut(frame, wide, size))
    clip.lips.append(lips_at(table, index, wide))
    if judged_size is not None:
        clip.judged.append(extract(frame, crop, judged_size))
    if number in moments(clip.frames):
        clip.vectors.append(embedder.embed(frame, table["points"][index]))
