"""Does an exported mouth draw what it was made from? Asked of ONNX Runtime on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.package import Avatar, find_avatar, list_avatars
from engine.errors import AvatarError, KouboError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet
from engine.speech.audio import SAMPLES_PER_TICK
from engine.speech.espeak import speak
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel, log_mel, window

TOLERANCE = 1e-2
"""Largest difference allowed, in the networks' range [-1, 1], beyond the rounding to bytes: 1.3 levels."""

_HALF_LEVEL = 1 / 255

_COUNT = 2

Reference = Callable[[Picture, Mel], NDArray[np.float32]]
"""(faces uint8 (n, S, S, 3), mel windows (n, 80, 16)) -> pictures float32 (n, 3, S, S) in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Between exported and original pictures, in [-1, 1]: largest and mean, beyond the rounding to bytes."""

    largest: float
    mean: float


def check(mouth: Path, sheet: MouthSheet, reference: Reference) -> dict[str, Difference]:
    """How far the mouth in the folder `mouth` is from `reference`, on "random" and on "real" input.

    Real input is a face of an installed avatar and the bundled voice; it is left out where there is none.
    Raises KouboError when a difference is above TOLERANCE or a network does not run.
    """
    found = {}
    for kind, (faces, mels) in _inputs(sheet.size).items():
        expected = reference(faces, mels)
        drawn = _draw(mouth, sheet, faces, mels)
        distance = np.abs(drawn.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1 - expected)
        distance = np.maximum(0, distance - _HALF_LEVEL)
        found[kind] = Difference(float(distance.max()), float(distance.mean()))
        # Written so that a NaN fails too.
        if not found[kind].largest <= TOLERANCE:
            raise KouboError(
                f"The exported mouth differs from the original by {found[kind].largest:.3g} on {kind} input, "
                f"more than {TOLERANCE:g}; its numbers are too large or too small for fp16, so look at the "
                "checkpoint's weights."
            )
    return found


def _draw(mouth: Path, sheet: MouthSheet, faces: Picture, mels: Mel) -> Picture:
    encoder, decoder = session(mouth / FACE_ENCODER), session(mouth / MOUTH_DECODER)
    maps = encoder.run(sheet.map_names, {"face": faces})
    drawn: Picture = decoder.run(["picture"], {"mel": mels, **dict(zip(sheet.map_names, maps, strict=True))})[
        0
    ]
    return drawn


def session(network: Path) -> Any:
    """A network opened by ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])


def _inputs(size: int) -> dict[str, tuple[Picture, Mel]]:
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (_COUNT, size, size, 3), np.uint8)
    mels = random.uniform(-4, 4, (_COUNT, MEL_BANDS, WINDOW_COLUMNS)).astype(np.float32)
    found = {"random": (faces, mels)}
    real = _real(size)
    if real is not None:
        found["real"] = real
    return found


def _real(size: int) -> tuple[Picture, Mel] | None:
    for name in list_avatars():
        try:
            face = Avatar.load(find_avatar(name)).face(0)
        except AvatarError:
            continue
        face = cv2.resize(face, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        said = speak("Koubo speaks to the camera.", "en-us").samples
        mel = log_mel(said)
        middle = said.size // SAMPLES_PER_TICK // 2
        mels = np.stack([window(mel, middle + tick) for tick in range(_COUNT)])
        return np.stack([face] * _COUNT), mels
    return None
