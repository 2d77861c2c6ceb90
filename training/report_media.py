"""Pictures to look at: a contact sheet and one video with truth, generated and anchor side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Crop, Picture, extract
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import to_i420
from engine.speech.audio import SAMPLES_PER_TICK, Samples, load_speech
from training.clips import span

_CELL = 192  # pixels of a face in the sheet
_GAP = 12  # between recordings
_PANEL = 320  # pixels of a panel's side in the video
_TITLE, _CAPTION = 36, 28
_BACK, _INK = (250, 249, 246), (40, 42, 48)
_SHEET_ROWS = 6

Column = tuple[str, Path]
"""A label and the video that it stands over."""


def write_sheet(
    recordings: Sequence[Sequence[Path]], crops: Sequence[Sequence[Crop]], output: Path, *,
    columns: int = 10,
) -> None:  # fmt: skip
    """A contact sheet of faces: for each recording one row a video, cut by that recording's crops.

    `columns` pictures of each, evenly spaced over the recording.
    """
    rows = []
    for videos, places in list(zip(recordings, crops, strict=True))[:_SHEET_ROWS]:
        moments = {round(moment) for moment in np.linspace(0, len(places) - 1, columns + 2)[1:-1]}
        for video in videos:
            cells = [
                extract(picture, _wider(crop), _CELL)
                for number, (picture, crop) in enumerate(zip(read_rgb(video), places, strict=False))
                if number in moments
            ]
            row = np.full((_CELL, _CELL * columns, 3), _BACK, np.uint8)
            for number, cell in enumerate(cells):
                row[:, number * _CELL : (number + 1) * _CELL] = cell
            rows.append(row)
        rows.append(np.full((_GAP, _CELL * columns, 3), _BACK, np.uint8))
    part = output.with_name(f"{output.stem}.part{output.suffix}")
    cv2.imwrite(str(part), np.vstack(rows[:-1])[:, :, ::-1])
    part.replace(output)


def write_side_by_side(
    recordings: Sequence[tuple[str, Sequence[Column]]], crops: Sequence[Sequence[Crop]], output: Path, *,
    progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """One MP4 of all recordings one after another, with the first column's sound.

    Each recording is (caption, columns); above the whole picture, below the lower face enlarged.
    """
    widest = max(len(columns) for _, columns in recordings)
    size = (widest * _PANEL, _TITLE + 2 * _PANEL + _CAPTION)
    with VideoWriter(output, size, sound=True, crf=20) as video:
        for done, ((caption, columns), places) in enumerate(zip(recordings, crops, strict=True)):
            _add(video, caption, columns, places, size, load_speech(columns[0][1]))
            if progress is not None:
                progress(done + 1, len(recordings))


def _add(
    video: VideoWriter, caption: str, columns: Sequence[Column], crops: Sequence[Crop],
    size: tuple[int, int], samples: Samples,
) -> None:  # fmt: skip
    frame = np.full((size[1], size[0], 3), _BACK, np.uint8)
    for number, (label, _) in enumerate(columns):
        _write(frame, label, number * _PANEL + 12, 25, 0.7)
    _write(frame, caption, 12, size[1] - 9, 0.5)
    films = zip(*(read_rgb(path) for _, path in columns), strict=False)
    for tick, (pictures, crop) in enumerate(zip(films, crops, strict=False)):
        for number, picture in enumerate(pictures):
            across = slice(number * _PANEL, (number + 1) * _PANEL)
            frame[_TITLE : _TITLE + _PANEL, across] = _fitted(picture)
            frame[_TITLE + _PANEL : _TITLE + 2 * _PANEL, across] = extract(picture, crop, _PANEL)
        video.write(to_i420(frame))
        video.write_sound(span(samples, tick, 1)[:SAMPLES_PER_TICK])


def _wider(crop: Crop) -> Crop:
    """Room around the lower face: the eyes belong to a face that one judges."""
    return Crop(crop.cx, crop.cy - 0.12 * crop.size, 1.35 * crop.size, crop.angle)


def _fitted(picture: Picture) -> Picture:
    """The picture inside a square panel, its shape kept."""
    height, width = picture.shape[:2]
    scale = _PANEL / max(height, width)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    panel = np.full((_PANEL, _PANEL, 3), _BACK, np.uint8)
    top, left = (_PANEL - height) // 2, (_PANEL - width) // 2
    panel[top : top + height, left : left + width] = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA
    )
    return panel


def _write(frame: Picture, text: str, x: int, y: int, scale: float) -> None:
    """Text in OpenCV's own letters, which know ASCII only."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(frame, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
