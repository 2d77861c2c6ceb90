"""How clear the picture of a face is."""

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Crop
from engine.picture.clarity import clarity
from tests.fakes import paint_face

CROP = Crop(104, 130, 130, 0.0)


def test_blur_lowers_sharpness_and_light_is_measured() -> None:
    face = paint_face(208, 240)
    blurred = np.asarray(cv2.GaussianBlur(face, (0, 0), 4), np.uint8)
    dark = np.asarray(face // 6, np.uint8)
    assert clarity(blurred, CROP).sharpness < 0.2 * clarity(face, CROP).sharpness
    assert clarity(dark, CROP).light < 40 < clarity(face, CROP).light
    flat = clarity(np.full_like(face, 128), CROP)
    assert (flat.sharpness, flat.contrast) == (0, 0)


def test_sharpness_does_not_depend_on_the_size_of_the_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    small = np.asarray(cv2.resize(noise, (512, 512), interpolation=cv2.INTER_NEAREST), np.uint8)
    large = clarity(small, Crop(256, 256, 512, 0.0)).sharpness
    assert large == pytest.approx(clarity(noise, Crop(64, 64, 128, 0.0)).sharpness, rel=0.1)
