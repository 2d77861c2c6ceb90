"""Pictures on a page: rows of tiles with captions, from top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture
from engine.errors import BadMediaError

WIDTH = 1600
"""Of a page, in pixels."""

_GAP = 8
_PAPER, _INK, _FAINT = (22, 24, 28), (236, 236, 236), (150, 156, 166)
_LINE = 26
_LABEL = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALL, _LARGE = 0.5, 0.8
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]
_OPTIONS: dict[str, list[int]] = {".jpg": _JPEG, ".jpeg": _JPEG, ".png": []}

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, RGB uint8 (h, w, 3), and a few words on it."""

    picture: Picture
    words: str = ""
    colour: Colour = _INK


def line(text: str, *, large: bool = False) -> Picture:
    """A line of text as wide as the page; what is too long is cut off."""
    band = _paper(_LINE * 2 if large else _LINE, WIDTH)
    _write(band, text, (_GAP, len(band) - 9), _LARGE if large else _SMALL, _INK if large else _FAINT)
    return band


def strip(tiles: Sequence[Tile], columns: int) -> Picture:
    """Tiles side by side, `columns` of them as wide as the page; in several rows where there are more."""
    side = (WIDTH - _GAP * (columns + 1)) // columns
    rows = [_row(tiles[start : start + columns], side) for start in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def page(parts: Sequence[Picture]) -> Picture:
    """Lines and strips below each other."""
    return np.concatenate([_paper(_GAP, WIDTH), *parts, _paper(_GAP, WIDTH)])


def write_page(path: Path, picture: Picture) -> None:
    """Write a picture as JPEG or PNG, by the suffix, whole or not at all. Raises BadMediaError."""
    options = _OPTIONS.get(path.suffix.lower())
    if options is None:
        raise BadMediaError(f"{path.name} is no name of a picture; end it in .jpg or .png.")
    _, encoded = cv2.imencode(path.suffix.lower(), picture[:, :, ::-1], options)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(encoded.tobytes())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadMediaError(f"{path} cannot be written ({error.strerror}); choose another place.") from error


def _row(tiles: Sequence[Tile], side: int) -> Picture:
    pictures = [_fitted(tile, side) for tile in tiles]
    row = _paper(max(map(len, pictures)) + _GAP, WIDTH)
    for number, picture in enumerate(pictures):
        left = _GAP + number * (side + _GAP)
        row[: len(picture), left : left + side] = picture
    return row


def _fitted(tile: Tile, side: int) -> Picture:
    height, width = tile.picture.shape[:2]
    shrinks = side < width
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    picture = cv2.resize(tile.picture, (side, round(height * side / width)), interpolation=kind)
    fitted = np.ascontiguousarray(picture, np.uint8)
    if tile.words:
        (width, _), _ = cv2.getTextSize(tile.words, _FONT, _SMALL, 1)
        fitted[-_LABEL:, : width + 12] = _PAPER
        _write(fitted, tile.words, (6, len(fitted) - 7), _SMALL, tile.colour)
    return fitted


def _write(picture: Picture, text: str, place: tuple[int, int], size: float, colour: Colour) -> None:
    cv2.putText(picture, text, place, _FONT, size, colour, 1, cv2.LINE_AA)


def _paper(height: int, width: int) -> Picture:
    return np.full((height, width, 3), _PAPER, np.uint8)
