"""The gate for files and for pictures."""

from dataclasses import replace

import numpy as np
import pytest

from engine.picture.clarity import Clarity
from engine.picture.source import Source
from training.preprocess.limits import Limits
from training.preprocess.quality import median_clarity, refuse_pictures, refuse_source

GOOD = Source(640, 480, 25.0, 10.0, 0, hdr=False, sound=True, bits_per_pixel=0.1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"width": 180}, "low_resolution"),
        ({"height": 144}, "low_resolution"),
        ({"bits_per_pixel": 0.004}, "low_bitrate"),
        ({"bits_per_pixel": 0.0}, None),  # nobody knows
        ({"sound": False}, "no_sound"),
    ],
)
def test_files_are_refused_for_one_reason(change: dict[str, object], reason: str | None) -> None:
    refused = refuse_source(replace(GOOD, **change), Limits())  # type: ignore[arg-type]
    assert (refused and refused[0]) == reason
    if refused and reason != "no_sound":
        assert any(character.isdigit() for character in refused[1])


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Clarity(200, 120, 40), None),
        (Clarity(5, 120, 40), "blurred"),
        (Clarity(200, 20, 40), "exposure"),
        (Clarity(200, 240, 40), "exposure"),
        (Clarity(200, 120, 3), "exposure"),
    ],
)
def test_pictures_are_refused_for_one_reason(seen: Clarity, reason: str | None) -> None:
    refused = refuse_pictures(seen, Limits())
    assert (refused and refused[0]) == reason


def test_one_bad_picture_does_not_decide() -> None:
    sharp = np.array([200, 1, 210, 190, 205], np.float32)
    even = np.full(5, 100, np.float32)
    assert median_clarity(sharp, even, even).sharpness == 200
