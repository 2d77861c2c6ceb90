"""The visible label of generated pictures: "AI生成" or "AI-generated", burnt into the I420 picture."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from engine.anchor.crop import Mask
from engine.picture.yuv import Frame, planes

Language = Literal["zh", "en", "both"]
Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]

SIZES: Final = (0.05, 0.15)
"""Least and greatest height of the words, as a share of the picture's shorter side (GB 45438-2025: 5 %)."""

OPACITIES: Final = (0.5, 1.0)
"""Of the pill behind the words; at the least, white words on a white picture still keep a contrast of 3:1."""

MARKS: Final = Path(__file__).parent / "marks"
"""Where the shipped masks lie; `draw_marks` makes them."""

MASK_HEIGHT: Final = 240
"""Pixels of `Words.measured` in the shipped masks."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a label says, the part of it whose height counts, and how much lower than the pill's middle it
    stands, in heights: feet such as that of g weigh less on the eye than they measure.
    """

    text: str
    measured: str
    lower: float = 0.0


WORDS: Final[dict[Language, Words]] = {
    "zh": Words("AI生成", "生成"),
    "en": Words("AI-generated", "AI-generated", 0.06),
    "both": Words("AI生成 · AI-generated", "生成"),
}

_MARGIN = 0.035  # from the picture's edges, as a share of the shorter side
_PAD = (0.55, 0.36)  # of the pill around the words, across and down, in heights of the words
_ROUND = 0.42  # radius of the pill's corners, in heights of the pill
_ROUNDING = 4  # pixels by which sizes and even corners may round up
_FINE = 4  # the pill is drawn this much larger, then averaged
_WHITE, _BLACK, _GREY = 235, 16, 128  # limited range; both colours are neutral in U and V


@dataclass(frozen=True, slots=True)
class LabelStyle:
    """How the label looks, within what the rules allow; raises ValueError outside of `SIZES` or `OPACITIES`.

    `size`: height of the words as a share of the picture's shorter side. `opacity`: of the dark pill behind
    the words; the words themselves are opaque.
    """

    language: Language = "zh"
    corner: Corner = "top-left"
    size: float = 0.055
    opacity: float = 0.55

    def __post_init__(self) -> None:
        for name, value, (least, most) in (("size", self.size, SIZES), ("opacity", self.opacity, OPACITIES)):
            if not least <= value <= most:
                raise ValueError(f"the label's {name} is {value}; it must be from {least} to {most}")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A patch of one plane: `source` uint8 is mixed in by `share`, `rest` = 1 - share, both float32."""

    rows: slice
    columns: slice
    source: Frame
    share: Mask
    rest: Mask

    def blend(self, plane: Frame) -> None:
        below = np.ascontiguousarray(plane[self.rows, self.columns])
        plane[self.rows, self.columns] = cv2.blendLinear(self.source, below, self.share, self.rest)

    def cover(self, matte: Frame) -> Mask:
        """How much of each pixel the layer and what `matte` shows below it cover together, in [0, 1]."""
        return np.asarray(self.share + self.rest * matte[self.rows, self.columns] / np.float32(255))

    def blend_over(self, plane: Frame, matte: Frame) -> None:
        """As `blend`, where `plane` is seen only as far as `matte`, uint8 of its size, lets it."""
        ours = self.share / np.maximum(self.cover(matte), 1e-6)
        below = np.ascontiguousarray(plane[self.rows, self.columns])
        plane[self.rows, self.columns] = cv2.blendLinear(self.source, below, ours, 1 - ours)


class Label:
    """The label for pictures of one size. Built once, then cheap to stamp; safe to share between threads."""

    def __init__(self, style: LabelStyle, size: tuple[int, int]) -> None:
        """`size`: (width, height) of the pictures in pixels, both even."""
        words, pill = _drawn(style, size)
        height, width = words.shape
        margin = round(_MARGIN * min(size))
        # Even corners, so that the patch covers whole chroma pixels.
        left = (margin if style.corner.endswith("left") else size[0] - margin - width) // 2 * 2
        top = (margin if style.corner.startswith("top") else size[1] - margin - height) // 2 * 2
        behind = pill * style.opacity * (1 - words)
        share = np.asarray(words + behind, np.float32)
        luma = (words * _WHITE + behind * _BLACK) / np.maximum(share, 1e-6)
        self._luma = _layer(top, left, np.rint(luma), share)
        half = cv2.resize(share, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        self._chroma = _layer(top // 2, left // 2, np.full(half.shape, _GREY), np.asarray(half, np.float32))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the label in the picture, in pixels."""
        rows, columns = self._luma.rows, self._luma.columns
        return columns.start, rows.start, columns.stop, rows.stop

    def stamp(self, picture: Frame) -> Frame:
        """A copy of the I420 `picture` that carries the label; the picture given stays as it is."""
        out = picture.copy()
        luma, *chroma = planes(out)
        self._luma.blend(luma)
        for plane in chroma:
            self._chroma.blend(plane)
        return out

    def stamp_cut_out(self, picture: Frame, matte: Frame) -> tuple[Frame, Frame]:
        """Copies of a picture and of its matte, uint8 (h, w) with 255 for the presenter, with the label.

        The label lies over both, so whatever is behind shows through its pill and never through its words.
        """
        out, shown = picture.copy(), matte.copy()
        luma, *chroma = planes(out)
        self._luma.blend_over(luma, matte)
        small = cv2.resize(matte, (matte.shape[1] // 2, matte.shape[0] // 2), interpolation=cv2.INTER_AREA)
        for plane in chroma:
            self._chroma.blend_over(plane, np.asarray(small, np.uint8))
        inside = self._luma.rows, self._luma.columns
        shown[inside] = np.rint(255 * self._luma.cover(matte))
        return out, shown


@lru_cache(maxsize=16)
def label_for(style: LabelStyle, size: tuple[int, int]) -> Label:
    """The label of pictures of `size` (width, height); every session with such pictures shares it."""
    return Label(style, size)


def stamp(style: LabelStyle, picture: Frame) -> Frame:
    """A copy of an I420 picture of any size with the label."""
    return label_for(style, (picture.shape[1], picture.shape[0] * 2 // 3)).stamp(picture)


def _layer(top: int, left: int, source: Mask, share: Mask) -> _Layer:
    height, width = share.shape
    rest = np.asarray(1 - share, np.float32)
    return _Layer(slice(top, top + height), slice(left, left + width), source.astype(np.uint8), share, rest)


def _drawn(style: LabelStyle, size: tuple[int, int]) -> tuple[Mask, Mask]:
    """Coverage in [0, 1] of the words and of the pill behind them, of one even size in pixels."""
    ink = cv2.imread(str(MARKS / f"{style.language}.png"), cv2.IMREAD_GRAYSCALE)
    if ink is None:
        raise FileNotFoundError(f"{MARKS / style.language}.png")
    # A long label in a narrow picture is made smaller; at the least size every label fits.
    widest = (1 - 2 * _MARGIN) * size[0] - _ROUNDING
    most = math.floor(widest / (ink.shape[1] / MASK_HEIGHT + 2 * _PAD[0]))
    # One row more: the soft edge of the ink does not count.
    height = min(math.ceil(style.size * min(size)) + 1, most)
    words_width = round(ink.shape[1] * height / MASK_HEIGHT)
    words_height = round(ink.shape[0] * height / MASK_HEIGHT)
    across, down = (round(pad * height) for pad in _PAD)
    width_all = _even(words_width + 2 * across)
    height_all = _even(height + 2 * down)
    words = np.zeros((height_all, width_all), np.float32)
    small = cv2.resize(ink, (words_width, words_height), interpolation=cv2.INTER_AREA)
    top = (height_all - height) // 2 + round(WORDS[style.language].lower * height)
    left = (width_all - words_width) // 2
    words[top : top + words_height, left : left + words_width] = small / np.float32(255)
    return words, _pill(width_all, height_all)


def _pill(width: int, height: int) -> Mask:
    """A rounded rectangle with soft edges."""
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    radius = round(_ROUND * fine.shape[0])
    bottom, right = (side - 1 for side in fine.shape)
    for x in (radius, right - radius):
        for y in (radius, bottom - radius):
            cv2.circle(fine, (x, y), radius, 255, -1)
    cv2.rectangle(fine, (radius, 0), (right - radius, bottom), 255, -1)
    cv2.rectangle(fine, (0, radius), (right, bottom - radius), 255, -1)
    pill = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(pill / np.float32(255), np.float32)


def _even(value: int) -> int:
    return value + value % 2
