"""What a training shows of itself in TensorBoard: figures, and pictures to look at."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from engine.anchor.crop import Picture
from training import parallel

_SHOWN = 8


class Board:
    """Writes below `folder`/board; only rank 0 of a parallel training writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = SummaryWriter(folder / "board") if parallel.rank() == 0 else None

    def figures(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Adds a point to each curve."""
        if self._writer:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, group: str, rows: Mapping[str, Tensor], step: int) -> None:
        """Adds a sheet with one row for each of (n, 3, S, S) in [-1, 1]; also kept as a JPEG."""
        if not self._writer:
            return
        sheet = np.vstack([np.hstack(list(to_rgb(row[:_SHOWN]))) for row in rows.values()])
        self._writer.add_image(f"{group}/{' over '.join(rows)}", sheet, step, dataformats="HWC")
        cv2.imwrite(str(self._folder / f"{group}-{step:06d}.jpg"), sheet[:, :, ::-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()


def to_rgb(tensor: Tensor) -> Picture:
    """(n, 3, S, S) in [-1, 1] as RGB uint8 (n, S, S, 3)."""
    scaled = tensor.detach().float().cpu().permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)
