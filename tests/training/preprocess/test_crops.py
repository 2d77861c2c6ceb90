"""The squares of a clip: steady, and where the lips are."""

import numpy as np
import pytest

from engine.anchor.crop import crop_from_landmarks
from tests.fakes import fake_landmarks
from tests.training.preprocess.footage import (
    HEIGHT,
    WIDTH,
    ColourEmbedder,
    FakeFaces,
    faces,
    syllables,
    table,
)
from training.clips import decode
from training.preprocess.crops import begin, grow
from training.preprocess.cuts import Span
from training.preprocess.faces import watch


def test_trembling_is_smoothed_and_motion_is_followed() -> None:
    rows = table(100)
    steady = np.linspace(100, 160, 100)
    rows["crop"][:, 0] = steady + np.random.default_rng(0).normal(0, 3, 100)
    clip = begin(rows, Span(10, 90))
    found = np.array([crop.cx for crop in clip.crops])
    assert clip.frames == len(found) == 80
    assert float(np.abs(np.diff(found)).max()) < 3
    assert float(np.abs(found - steady[10:90])[5:-5].max()) < 4


def test_a_clip_grows_by_pictures_of_its_own_size() -> None:
    pictures = faces(syllables(12))
    rows, _ = watch(pictures, FakeFaces())
    clip = begin(rows, Span(2, 12))
    for index in range(2, 12):
        grow(clip, pictures[index], rows, index, size=64, judged_size=48, embedder=ColourEmbedder())
    assert len(clip.pictures) == len(clip.lips) == len(clip.judged) == 10
    assert decode(clip.pictures[0]).shape == (64, 64, 3)
    assert clip.judged[0].shape == (48, 48, 3)
    assert clip.vector().shape == (3,)
    # The mouth is dark where the lips are said to be.
    x, y = clip.lips[5]
    crop = crop_from_landmarks(fake_landmarks(WIDTH, HEIGHT))
    assert clip.crops[5].size == pytest.approx(crop.size, rel=0.02)
    assert 0.4 < x < 0.6
    assert 0.3 < y < 0.7


def test_nobody_judges_where_none_is_asked() -> None:
    pictures = faces(syllables(3))
    rows, _ = watch(pictures, FakeFaces())
    clip = begin(rows, Span(0, 3))
    grow(clip, pictures[0], rows, 0, size=32, judged_size=None, embedder=ColourEmbedder())
    assert clip.judged == []
