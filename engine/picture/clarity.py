"""How clear the picture of a face is."""

from dataclasses import dataclass

import cv2

from engine.anchor.crop import Crop, Picture, extract

_SIDE = 128


@dataclass(frozen=True, slots=True)
class Clarity:
    """Of one picture's face square: variance of the Laplacian, mean and deviation of grey (0 to 255)."""

    sharpness: float
    light: float
    contrast: float


def clarity(frame: Picture, crop: Crop) -> Clarity:
    """How clear the square `crop` of an RGB frame is, seen at 128x128."""
    grey = cv2.cvtColor(extract(frame, crop, _SIDE), cv2.COLOR_RGB2GRAY)
    return Clarity(float(cv2.Laplacian(grey, cv2.CV_64F).var()), float(grey.mean()), float(grey.std()))
