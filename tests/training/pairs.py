"""A small folder of pairs as the studio writes it, with the faces already found."""

import json
from pathlib import Path

import cv2
import numpy as np

from training.studio.visemes import VISEMES

FRAME = 224


def write_pairs(root: Path, name: str, count: int, speech: str | None = None) -> Path:
    """Faces of one colour whose dark mouth opens with the code's first shape."""
    folder = root / name
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(name))
    records, faces = [], {}
    for index in range(count):
        code = np.zeros(len(VISEMES))
        code[0] = random.uniform(0, 1)
        for kind, opening in (("idle", 0.0), ("speaking", code[0])):
            picture = np.full((FRAME, FRAME, 3), (140, 160, 200), np.uint8)
            axes = (24, 2 + round(24 * opening))
            cv2.ellipse(picture, (112, 120), axes, 0, 0, 360, (40, 30, 80), -1, cv2.LINE_AA)
            cv2.imwrite(str(folder / f"{index:05d}-{kind}.jpg"), picture)
        speech_tick = (speech, index) if speech and index % 2 else (None, None)
        records.append(
            {"name": f"{index:05d}", "speech": speech_tick[0], "tick": speech_tick[1], "code": code.tolist()}
        )
        faces[f"{index:05d}"] = [112.0, 118.0, 192.0, 0.0, 0.5, 0.5]
    (folder / "pairs.json").write_text(json.dumps({"visemes": VISEMES, "pairs": records}))
    (folder / "faces.json").write_text(json.dumps(faces))
    return folder
