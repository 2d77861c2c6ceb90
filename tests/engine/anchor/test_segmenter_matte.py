"""Mattes by a segmenter; with the real model where KOUBO_SEGMENTER is set."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.package import find_avatar
from engine.anchor.segmenter_matte import SegmenterMatter, drawn_to_edges, known_segmenter
from engine.errors import MissingToolError
from engine.picture.video import read_rgb


def test_another_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"something else")
    with pytest.raises(MissingToolError, match="not the segmenter that Koubo knows"):
        SegmenterMatter(tmp_path / "model.tflite")
    with pytest.raises(MissingToolError, match="is no file"):
        SegmenterMatter(tmp_path / "none.tflite")


def test_it_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOUBO_SEGMENTER", raising=False)
    assert known_segmenter() is None
    monkeypatch.setenv("KOUBO_SEGMENTER", "/somewhere/model.tflite")
    assert known_segmenter() == Path("/somewhere/model.tflite")


def test_a_matte_beside_the_pictures_edge_is_drawn_to_it() -> None:
    person = np.zeros((480, 640), np.float32)
    cv2.circle(person, (320, 240), 140, 1, -1)
    colours = np.array((190, 150, 130)), np.array((60, 70, 90))
    picture = np.where(person[..., None] > 0, *colours).astype(np.uint8)
    coarse = np.asarray(np.roll(cv2.GaussianBlur(person, (0, 0), 1.5), 4, axis=1), np.float32)
    fine = drawn_to_edges(coarse, picture)
    wrong, left = (np.abs(some - person) > 0.5 for some in (coarse, fine))
    assert left.sum() < 0.5 * wrong.sum()
    assert fine.min() >= 0
    assert fine.max() <= 1
    # Where the picture has no edge nothing is moved.
    flat = drawn_to_edges(coarse, np.full_like(picture, 90))
    assert ((flat > 0.5) == (coarse > 0.5)).mean() > 0.995


@pytest.mark.parametrize("name", ["ada", "kai"])
def test_the_real_segmenter_finds_rendered_presenters(name: str) -> None:
    model = known_segmenter()
    if model is None:
        pytest.skip("needs the segmenter's model; set KOUBO_SEGMENTER")
    folder = find_avatar(name)
    with SegmenterMatter(model) as matter:
        pairs = zip(read_rgb(folder / "anchor.mp4"), read_rgb(folder / "matte.mp4"), strict=True)
        for number, (picture, truth) in enumerate(islice(pairs, 5)):
            found = matter.matte(picture, 40 * number)
            assert np.abs(found.astype(int) - truth[..., 0]).mean() < 1
