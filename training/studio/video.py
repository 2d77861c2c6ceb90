"""Rendered pictures and their sound as one MP4."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from engine.speech.audio import SAMPLES_PER_TICK, Samples

_CRF = 14


def write_video(frames: Sequence[Path], samples: Samples | None, output: Path) -> None:
    """Writes JPEG `frames` at 25 fps and optional 16 kHz sound; complete or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    first = read_picture(frames[0])
    size = (first.shape[1], first.shape[0])
    with VideoWriter(output, size, sound=samples is not None, crf=_CRF) as video:
        for index, path in enumerate(frames):
            video.write(to_i420(read_picture(path)))
            if samples is not None:
                part = samples[index * SAMPLES_PER_TICK : (index + 1) * SAMPLES_PER_TICK]
                video.write_sound(np.pad(part, (0, SAMPLES_PER_TICK - part.size)))


def read_picture(path: Path) -> Picture:
    """A JPEG or PNG file as RGB uint8 (h, w, 3)."""
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
