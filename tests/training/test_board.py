import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training import board, parallel
from training.board import Board, to_rgb


def events(folder: Path) -> bytes:
    """The raw event files; names of curves and pictures stand in them as plain text."""
    return b"".join(path.read_bytes() for path in (folder / "board").iterdir())


def test_curves_and_pictures_are_written(tmp_path: Path) -> None:
    rows = {"reference": torch.zeros(10, 3, 16, 16), "painted": torch.ones(10, 3, 16, 16)}
    with Board(tmp_path) as shown:
        shown.figures("sync", {"bce": 0.625, "right first": 0.5}, 3)
        shown.pictures("together", rows, 7)
    content = events(tmp_path)
    for name in (b"sync/bce", b"sync/right first", b"together/reference over painted"):
        assert name in content
    assert struct.pack("<f", 0.625) in content
    sheet = cv2.imread(str(tmp_path / "together-000007.jpg"))
    assert sheet is not None
    assert sheet.shape == (32, 8 * 16, 3)
    assert sheet[:14].mean() == pytest.approx(128, abs=3)
    assert sheet[18:].mean() > 250


def test_figures_can_be_read_back(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    with Board(tmp_path) as shown:
        for step in range(5):
            shown.figures("sync", {"bce": step / 8}, step)
    (file,) = (tmp_path / "board").iterdir()
    found = [
        (event.step, event.summary.value[0].tag, event.summary.value[0].tensor.float_val[0])
        for event in reading.EventFileLoader(str(file)).Load()
        if event.summary.value
    ]
    assert found == [(step, "sync/bce", step / 8) for step in range(5)]


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "rank", lambda: 1)
    with Board(tmp_path) as shown:
        shown.figures("sync", {"bce": 0.5}, 1)
        shown.pictures("sync", {"third picture": torch.zeros(2, 3, 8, 8)}, 1)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_keeps_its_curves(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Board(tmp_path) as shown:
            shown.figures("sync", {"bce": 0.5}, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert b"sync/bce" in events(tmp_path)


def test_pictures_are_scaled_to_bytes() -> None:
    tensor = torch.tensor([-1.0, 0.0, 1.0, 5.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2).to(torch.bfloat16)
    pictures = to_rgb(tensor.requires_grad_())
    assert pictures.dtype == np.uint8
    assert pictures.shape == (4, 2, 2, 3)
    assert pictures[:, 0, 0, 0].tolist() == [0, 128, 255, 255]
    assert board._SHOWN == 8
