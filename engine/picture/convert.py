"""Decoded frames as the house's pictures: upright, square pixels, RGB of standard range, of one size."""

import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorTrc, Interpolation

from engine.anchor.crop import Picture
from engine.picture.tone import ToneMap, Transfer

_UNSPECIFIED = 2  # of AVColorSpace
_BT709, _BT2020 = 1, 9
_HD_SIDE = 720
_TRANSFERS: dict[int, Transfer] = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}


class Converter:
    """Brings every frame of one film to the size that its first frame gets.

    The picture is turned as its display matrix says, stretched where pixels are not square, shrunk until its
    longest side is `max_side` and then cut to even sides (None: as it is), and tone-mapped if it is HDR.
    """

    def __init__(self, first: av.VideoFrame, shape: Fraction | None, max_side: int | None = None) -> None:
        """`shape` is a stored pixel's width over its height, None where the file does not tell."""
        self._turns, self._mirrored = orientation(first)
        self._size = fitted(upright_size(first, shape), max_side)
        transfer = transfer_of(first)
        self._tone = None if transfer is None else ToneMap(transfer)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self._size

    def __call__(self, frame: av.VideoFrame) -> Picture:
        """RGB uint8 (h, w, 3)."""
        width, height = self._size[::-1] if self._turns % 2 else self._size
        # An odd row or column is cut off, not squeezed in.
        cut = (frame.width - width in (0, 1)) and (frame.height - height in (0, 1))
        scaled = frame.reformat(
            frame.width if cut else width,
            frame.height if cut else height,
            "rgb24" if self._tone is None else "rgb48le",
            src_colorspace=_matrix(frame),
            interpolation=Interpolation.BILINEAR if cut else Interpolation.AREA,
        ).to_ndarray()[:height, :width]
        if self._mirrored:
            scaled = scaled[:, ::-1]
        if self._turns:
            scaled = np.rot90(scaled, self._turns)
        if self._tone is not None:
            return self._tone(np.ascontiguousarray(scaled, np.uint16))
        return np.ascontiguousarray(scaled, np.uint8)


def transfer_of(frame: av.VideoFrame) -> Transfer | None:
    """The transfer function of an HDR frame, None for one of standard range."""
    return _TRANSFERS.get(int(frame.color_trc))


def upright_size(frame: av.VideoFrame, shape: Fraction | None) -> tuple[int, int]:
    """(width, height) of a frame's picture as it is to be seen, with square pixels."""
    stretch = float(shape) if shape and abs(shape - 1) > 0.01 else 1.0
    width, height = round(frame.width * stretch), frame.height
    return (height, width) if orientation(frame)[0] % 2 else (width, height)


def fitted(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """`size` shrunk to `max_side` with both sides even; None leaves it as it is."""
    if max_side is None:
        return size
    scale = min(1.0, max_side / max(size))
    if scale < 1:
        return max(2, round(size[0] * scale / 2) * 2), max(2, round(size[1] * scale / 2) * 2)
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """(quarter turns against the clock, whether left and right are swapped before) that make it upright."""
    kept: Any = frame.side_data.get("DISPLAYMATRIX")
    if kept is None:
        return 0, False
    a, b, _, c, d = struct.unpack("<5i", bytes(kept)[:20])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    # x' = a x + c y, y' = b x + d y with y downwards: (a, b) is where the picture's right side goes.
    turns = {(True, True): 0, (False, False): 3, (True, False): 2, (False, True): 1}
    return turns[abs(a) >= abs(b), (a if abs(a) >= abs(b) else -b) > 0], mirrored


def _matrix(frame: av.VideoFrame) -> int:
    """libswscale's name of the frame's colour matrix; files that do not tell follow the players' habit."""
    if frame.colorspace != _UNSPECIFIED:
        return int(frame.colorspace)
    if transfer_of(frame) is not None:
        return _BT2020
    return _BT709 if min(frame.width, frame.height) >= _HD_SIDE else _UNSPECIFIED
