"""Pairs of idle and speaking pictures as training batches.

Pictures stay encoded in memory and are decoded, cut and varied by threads while the network trains.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.anchor.crop import Crop, Picture, crop_from_landmarks, extract
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.errors import BadMediaError
from engine.mouth.features import face_input
from training.clips import decode, lip_centre
from training.loader import Ahead, Random
from training.speech_data import Floats
from training.variation import colour_table

EMPHASIS = 4
"""How often a pair of an emphasised character is drawn for one of another."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair: encoded pictures, where the face is, where the lips are in it, the code, the moment."""

    idle: bytes
    speaking: bytes
    crop: Crop
    lips: tuple[float, float]
    code: Floats
    speech: str | None
    tick: int | None


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """face (n, 6, S, S), target (n, 3, S, S) in [-1, 1]; lips (n, 2) in [0, 1]; code (n, CODE); its pairs."""

    face: Tensor
    target: Tensor
    lips: Tensor
    code: Tensor
    pairs: Sequence[Pair]


def read_pairs(folder: Path, emphasise: Collection[str] = ()) -> list[Pair]:
    """All pairs below `folder`, faces found once and remembered beside them.

    Characters named in `emphasise` (the presenters to be shipped) count EMPHASIS times.
    Raises BadMediaError when there are no pairs, or none of an emphasised character.
    """
    pairs: list[Pair] = []
    for name in emphasise:
        if not (folder / name / "pairs.json").is_file():
            raise BadMediaError(f"There are no rendered pairs of {name} below {folder}; check the name.")
    for index in sorted(folder.rglob("pairs.json")):
        repeat = EMPHASIS if index.parent.name in emphasise else 1
        records = json.loads(index.read_text())["pairs"]
        faces = _faces(index.parent, [record["name"] for record in records])
        for record in records:
            if record["name"] not in faces:
                continue
            x, y, size, angle, lip_x, lip_y = faces[record["name"]]
            pair = Pair(
                idle=(index.parent / f"{record['name']}-idle.jpg").read_bytes(),
                speaking=(index.parent / f"{record['name']}-speaking.jpg").read_bytes(),
                crop=Crop(x, y, size, angle),
                lips=(lip_x, lip_y),
                code=np.array(record["code"], np.float32),
                speech=record["speech"],
                tick=record["tick"],
            )
            pairs += [pair] * repeat
    if not pairs:
        raise BadMediaError(f"There are no rendered pairs below {folder}; run `koubo studio dataset` first.")
    return pairs


def _faces(folder: Path, names: Sequence[str]) -> dict[str, list[float]]:
    cache = folder / "faces.json"
    if cache.is_file():
        known: dict[str, list[float]] = json.loads(cache.read_text())
        return known
    faces = {}
    with MediaPipeTracker() as tracker:
        for index, name in enumerate(names):
            picture = decode((folder / f"{name}-idle.jpg").read_bytes())
            face = tracker.track(picture, 1000 * index)
            if face is None:
                continue
            crop = crop_from_landmarks(face.landmarks)
            faces[name] = [*asdict(crop).values(), *lip_centre(face.landmarks, crop)]
    partial = cache.with_suffix(".part")
    partial.write_text(json.dumps(faces))
    partial.replace(cache)
    return faces


def picture_batches(
    pairs: Sequence[Pair], picture: int, size: int, seed: tuple[int, ...], start: int = 0
) -> Ahead[PictureBatch]:
    """Endless batches of `size` pairs drawn at random, from step `start` on."""

    def make(random: Random) -> PictureBatch:
        chosen = [pairs[i] for i in random.choice(len(pairs), size, replace=len(pairs) < size)]
        return collate(chosen, [vary(pair, picture, random) for pair in chosen])

    return Ahead(make, seed, start)


def collate(
    pairs: Sequence[Pair], cuts: Sequence[tuple[Picture, Picture, tuple[float, float]]]
) -> PictureBatch:
    """Cut pictures of `pairs` as tensors."""
    idle = np.stack([cut[0] for cut in cuts])
    speaking = np.stack([cut[1] for cut in cuts])
    target = torch.from_numpy(speaking).permute(0, 3, 1, 2).float() / 127.5 - 1
    return PictureBatch(
        face=torch.from_numpy(face_input(idle)),
        target=target,
        lips=torch.tensor([cut[2] for cut in cuts]),
        code=torch.from_numpy(np.stack([pair.code for pair in pairs])),
        pairs=pairs,
    )


def cut(pair: Pair, picture: int) -> tuple[Picture, Picture, tuple[float, float]]:
    """The pair's idle and speaking face (picture, picture, 3), and its lips in [0, 1]."""
    return (
        extract(decode(pair.idle), pair.crop, picture),
        extract(decode(pair.speaking), pair.crop, picture),
        pair.lips,
    )


def vary(
    pair: Pair, picture: int, random: np.random.Generator
) -> tuple[Picture, Picture, tuple[float, float]]:
    """As `cut`, with a tracker's errors, a mirror and a camera's colours drawn at random."""
    shift = random.normal(0, 0.015, 2) * pair.crop.size
    crop = replace(
        pair.crop,
        cx=pair.crop.cx + shift[0],
        cy=pair.crop.cy + shift[1],
        size=pair.crop.size * float(np.exp(random.normal(0, 0.03))),
        angle=pair.crop.angle + float(random.normal(0, 0.02)),
    )
    idle, speaking, lips = cut(replace(pair, crop=crop), picture)
    if random.random() < 0.5:
        idle, speaking, lips = idle[:, ::-1], speaking[:, ::-1], (1 - lips[0], lips[1])
    table = colour_table(random)[None]
    return _tinted(idle, table), _tinted(speaking, table), lips


def _tinted(picture: Picture, table: NDArray[np.uint8]) -> Picture:
    return np.asarray(cv2.LUT(np.ascontiguousarray(picture), table), dtype=np.uint8)
