"""What goes into and comes out of the two networks of a mouth (the contract is told in `sheet`)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.mouth.sheet import MouthSheet
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS

ENCODER = "face_encoder"
DECODER = "mouth_decoder"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output; `shape` is that of a single face, without the batch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of a single face."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class MouthTensors:
    """Every input and output of both networks; `maps` are the encoder's outputs, largest first."""

    face: Tensor
    mel: Tensor
    maps: tuple[Tensor, ...]
    picture: Tensor

    @classmethod
    def of(cls, sheet: MouthSheet) -> "MouthTensors":
        """Those of the mouth that the sheet describes."""
        square = (sheet.size, sheet.size, 3)
        maps = zip(sheet.map_names, sheet.maps, strict=True)
        return cls(
            Tensor("face", np.dtype(np.uint8), square),
            Tensor("mel", np.dtype(np.float32), (MEL_BANDS, WINDOW_COLUMNS)),
            tuple(Tensor(name, np.dtype(np.float16), shape) for name, shape in maps),
            Tensor("picture", np.dtype(np.uint8), square),
        )

    def inputs(self, part: str) -> tuple[Tensor, ...]:
        """Those of ENCODER or DECODER."""
        return (self.face,) if part == ENCODER else (self.mel, *self.maps)

    def outputs(self, part: str) -> tuple[Tensor, ...]:
        """Those of ENCODER or DECODER."""
        return self.maps if part == ENCODER else (self.picture,)
