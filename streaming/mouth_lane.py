"""What a mouth's process and its server say to each other, and the memory in which they hand over arrays.

A lane is a socket and a piece of shared memory for one call at a time: the server writes mel windows, faces
and features into the memory and a `REQUEST` into the socket; a `DONE` comes back when the answer lies in the
memory. Orders and facts go as lines of JSON through a socket of their own. Whoever dies closes its sockets,
and the other side reads their end at once.
"""

import mmap
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.mouth.region import Region
from engine.mouth.runtime import Features, MouthRuntime
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS

FACES = 4
"""Faces that go through a lane in one call; larger batches go in several."""

REQUEST = struct.Struct("<cHH")
"""ENCODE or DECODE, the number of the view (the mouth, or a restriction of it), and how many faces."""

ENCODE, DECODE, DONE = b"e", b"d", b"."

_ALIGN = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server must know of a mouth in another process; `maps` are (shape, dtype) of one face."""

    name: str
    precision: str
    size: int
    region: Region
    maps_key: str | None
    maps: tuple[tuple[tuple[int, ...], str], ...]

    @classmethod
    def of(cls, mouth: MouthRuntime) -> "Facts | None":
        """Ask a mouth, by encoding a grey face; None where its features are no plain arrays."""
        grey = np.full((1, mouth.size, mouth.size, 3), 128, np.uint8)
        features = mouth.encode(grey)[0]
        if not all(isinstance(map_, np.ndarray) for map_ in features):
            return None
        maps = tuple((tuple(map_.shape), str(map_.dtype)) for map_ in features)
        return cls(mouth.name, mouth.precision, mouth.size, mouth.region, mouth.maps_key, maps)

    @classmethod
    def read(cls, told: Any) -> "Facts":
        """From what JSON made of `dataclasses.asdict`."""
        maps = tuple((tuple(shape), dtype) for shape, dtype in told["maps"])
        return cls(**told | {"region": Region(**told["region"]), "maps": maps})


class Tray:
    """The arrays of one lane as one view lays them out; the same memory holds those of other views."""

    def __init__(self, memory: mmap.mmap, start: int, facts: Facts) -> None:
        self._memory, self._at = memory, start
        self.mels = self._array((FACES, MEL_BANDS, WINDOW_COLUMNS), "float32")
        self.pictures = self._array((FACES, facts.size, facts.size, 3), "uint8")
        """Faces on the way there, pictures on the way back."""
        self.maps = [self._array((FACES, *shape), dtype) for shape, dtype in facts.maps]

    @classmethod
    def nbytes(cls, facts: Facts) -> int:
        """Memory of one lane."""
        shapes = [
            ((MEL_BANDS, WINDOW_COLUMNS), "float32"),
            ((facts.size, facts.size, 3), "uint8"),
            *facts.maps,
        ]
        return sum(_aligned(_nbytes((FACES, *shape), dtype)) for shape, dtype in shapes)

    def put_features(self, features: Sequence[Features]) -> None:
        """Lay down the features of so many faces."""
        for number, maps in enumerate(features):
            for place, map_ in zip(self.maps, maps, strict=True):
                place[number] = map_

    def features(self, count: int) -> list[Features]:
        """Of so many faces, in the shared memory."""
        return [tuple(place[number] for place in self.maps) for number in range(count)]

    def _array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        array: NDArray[Any] = np.ndarray(shape, dtype, self._memory, self._at)
        self._at += _aligned(array.nbytes)
        return array


class Lines:
    """Lines of text through a socket; not for several threads at once."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()

    def send(self, line: str) -> None:
        """Raises OSError when the other side is gone."""
        self._end.sendall(line.encode() + b"\n")

    def receive(self) -> str:
        """The next line; raises EOFError when the other side has ended, TimeoutError as the socket does."""
        while b"\n" not in self._read:
            part = self._end.recv(65536)
            if not part:
                raise EOFError
            self._read += part
        line, _, rest = self._read.partition(b"\n")
        self._read = rest
        return line.decode()


def _nbytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGN) * _ALIGN
