"""An avatar with several clips, made of nothing but numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import Clip, ClipKind, read_card, write_card
from engine.anchor.crop import Picture, crop_from_landmarks, mouth_outline
from engine.anchor.walk import Loop
from engine.mouth.runtime import Features
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from engine.speech.mel import Mel
from tests.fakes import FRAME_SIZE, MOUTH, FakeMouth, fake_landmarks, make_avatar, paint_face

TALKING, NOD, HELLO, AWAY = "talking", "nod", "hello", "away"
LENGTHS = {"idle": 40, TALKING: 40, NOD: 40, HELLO: 24, AWAY: 50}


def make_clips_avatar(folder: Path, name: str = "clips") -> Path:
    """Write a whole package: idle, talking a little aside, a nod, a greeting, and a look aside during which
    no mouth may be drawn.
    """
    package = make_avatar(folder, name)
    steps = np.arange(40) / 39
    sway = 1.5 * np.sin(2 * np.pi * steps)
    ways = {
        "idle": np.column_stack([sway, 0 * steps]),
        TALKING: np.column_stack([5 + 3 * np.sin(2 * np.pi * steps), 2 * np.cos(2 * np.pi * steps)]),
        NOD: np.column_stack([0 * steps, 6 * np.sin(np.pi * steps) ** 2]),
        HELLO: np.column_stack([-4 + np.linspace(-1, 1, 24), np.zeros(24)]),
        AWAY: np.column_stack([4 * np.sin(np.pi * np.linspace(0, 1, 50)), np.zeros(50)]),
    }
    kinds: dict[str, ClipKind] = {
        "idle": "idle", TALKING: "talking", NOD: "gesture", HELLO: "greeting", AWAY: "gesture",
    }  # fmt: skip
    clips = []
    for clip_name, way in ways.items():
        file = "anchor.mp4" if clip_name == "idle" else f"clips/{clip_name}.mp4"
        (package / file).parent.mkdir(exist_ok=True)
        loop: Loop = "pingpong" if clip_name in ("idle", TALKING) else "once"
        clips.append(_write(package, Clip(clip_name, kinds[clip_name], file, loop, (), (), ()), way))
    away = np.clip(np.abs(np.linspace(-1, 1, 50)) * 3 - 1, 0, 1)
    clips[-1] = replace(clips[-1], shares=tuple(float(share) for share in away))
    write_card(package, replace(read_card(package), clips=tuple(clips)))
    return package


def _write(package: Path, clip: Clip, way: NDArray[np.float64]) -> Clip:
    """The clip's video, the face moved by `way` (frames, 2) in pixels; the clip, known frame by frame."""
    width, height = FRAME_SIZE
    face, landmarks = paint_face(width, height), fake_landmarks(width, height)
    crops, outlines = [], []
    with VideoWriter(package / clip.file, FRAME_SIZE) as video:
        for x, y in way:
            move = np.array([[1, 0, x], [0, 1, y]], np.float64)
            moved = cv2.warpAffine(
                face, move, FRAME_SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            video.write(to_i420(np.asarray(moved, np.uint8)))
            points = landmarks + np.array([x, y], np.float32)
            crops.append(crop_from_landmarks(points))
            outlines.append(tuple(float(value) for value in mouth_outline(points, crops[-1]).ravel()))
    return replace(clip, crops=tuple(crops), outlines=tuple(outlines), shares=(1.0,) * len(crops))


class OpenMouth(FakeMouth):
    """Always as wide open, whatever is said."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """The faces with an open mouth."""
        self.mels += list(mels)
        faces = np.stack([face.astype(np.uint8) for (face,) in features])
        centre = (self.size // 2, round(self.size * 0.46))
        for face in faces:
            cv2.ellipse(face, centre, (self.size // 6, self.size // 8), 0, 0, 360, MOUTH, -1)
        return faces
