"""Step 1, quality: is the file worth reading, and are its pictures of the face clear?"""

from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Picture, extract
from engine.errors import BadMediaError
from engine.speech.audio import FRAME_RATE
from training.preprocess.limits import Limits

Floats = NDArray[np.float32]

_SIDE = 128


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a file says of itself: pixels as stored, seconds, pictures a second, bits for each pixel shown.

    `seconds` is 0 where the file does not tell; `depth` is bits for each colour sample.
    """

    width: int
    height: int
    seconds: float
    rate: float
    variable_rate: bool
    depth: int
    codec: str
    bits_per_pixel: float
    sound: bool


@dataclass(frozen=True, slots=True)
class Clarity:
    """Of one picture's face square: variance of the Laplacian, mean and deviation of grey (0 to 255)."""

    sharpness: float
    light: float
    contrast: float


def probe(path: Path) -> SourceFacts:
    """The facts of a video file. Raises BadMediaError when it is missing, damaged or holds no picture."""
    if not path.is_file():
        raise BadMediaError(f"There is no video file at {path}; check the path.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadMediaError(f"{path.name} holds no picture; give a video file.")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or FRAME_RATE)
            base = float(stream.base_rate or rate)
            seconds = float(container.duration or 0) / av.time_base
            pixels = stream.width * stream.height
            if not pixels:
                raise BadMediaError(f"{path.name} holds no picture; give a video file.")
            bits = path.stat().st_size * 8 / (seconds * rate * pixels) if seconds else float("inf")
            return SourceFacts(
                width=stream.width,
                height=stream.height,
                seconds=round(seconds, 3),
                rate=round(rate, 3),
                variable_rate=abs(base - rate) > 0.02 * rate,
                depth=stream.format.components[0].bits if stream.format else 8,
                codec=stream.codec_context.name,
                bits_per_pixel=round(bits, 4) if seconds else 0.0,
                sound=bool(container.streams.audio),
            )
    except av.error.FFmpegError as error:
        raise BadMediaError(
            f"{path.name} cannot be read as a video ({error.strerror}); give an MP4, MOV, MKV or WebM file."
        ) from error
    except OSError as error:
        raise BadMediaError(f"{path.name} cannot be read ({error.strerror}); check its rights.") from error


def refuse_source(facts: SourceFacts, limits: Limits) -> tuple[str, str] | None:
    """(reason, figures) why a whole file is dropped, None when it is worth reading."""
    if min(facts.width, facts.height) < limits.min_side:
        return "low_resolution", f"{facts.width}x{facts.height}, needs {limits.min_side} on the shorter side"
    if 0 < facts.bits_per_pixel < limits.min_bits_per_pixel:
        figures = f"{facts.bits_per_pixel:.4f} bits a pixel, needs {limits.min_bits_per_pixel}"
        return "low_bitrate", figures
    if not facts.sound:
        return "no_sound", "no audio track"
    return None


def clarity(frame: Picture, crop: Crop) -> Clarity:
    """How clear the square `crop` of an RGB frame is."""
    grey = cv2.cvtColor(extract(frame, crop, _SIDE), cv2.COLOR_RGB2GRAY)
    return Clarity(float(cv2.Laplacian(grey, cv2.CV_64F).var()), float(grey.mean()), float(grey.std()))


def refuse_pictures(seen: Clarity, limits: Limits) -> tuple[str, str] | None:
    """(reason, figures) why a stretch is dropped, from the medians over its pictures."""
    if seen.sharpness < limits.min_sharpness:
        return "blurred", f"sharpness {seen.sharpness:.0f}, needs {limits.min_sharpness:.0f}"
    if not limits.min_light <= seen.light <= limits.max_light:
        return "exposure", f"grey {seen.light:.0f}, fit are {limits.min_light:.0f} to {limits.max_light:.0f}"
    if seen.contrast < limits.min_contrast:
        return "exposure", f"contrast {seen.contrast:.0f}, needs {limits.min_contrast:.0f}"
    return None


def median_clarity(sharpness: Floats, light: Floats, contrast: Floats) -> Clarity:
    """Medians over the pictures (n,) of a stretch."""
    return Clarity(float(np.median(sharpness)), float(np.median(light)), float(np.median(contrast)))
