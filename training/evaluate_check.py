"""Checks the measures themselves: copies of a true video, spoilt in known ways, must score as spoilt.

A measure that does not react to the fault it is made for, or reacts to everything, is of no use.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture, extract
from engine.evaluate.columns import Place, place_of, score_columns
from engine.evaluate.lips import compare_lips
from engine.evaluate.pixels import Series
from engine.evaluate.track import NewTracker, track
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import to_i420
from engine.speech.audio import FRAME_RATE

Spoil = Callable[[list[Picture], Place], Iterator[Picture]]

_BLUR = 2.0  # Gaussian sigma, pixels of the picture
_LATE = 3  # pictures
_FLICKER = 4.0  # levels of 255, up and down from one picture to the next
_TINT = (10, -4, -6)  # levels added to red, green, blue
_BRIGHTER = 6.0


@dataclass(frozen=True, slots=True)
class CheckRow:
    """How one spoilt copy scores against the true video; see `engine.evaluate` for the figures."""

    psnr_mouth: float
    ssim_mouth: float
    gmsd_mouth: float
    sharpness_ratio: float
    jaw_r: float
    aperture_r: float
    lag_frames: int
    flicker_ratio: float
    seam_luma: float
    seam_chroma: float
    seam_gradient: float


def check(
    video: Path, output: Path, new_tracker: NewTracker, *, seconds: float = 4.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, CheckRow]:  # fmt: skip
    """Writes spoilt copies of the first `seconds` of `video` into `output` and scores each, by name.

    Raises BadMediaError and NoFaceError for a video without a talking face.
    """
    output.mkdir(parents=True, exist_ok=True)
    true_pictures = [_even(picture) for picture in islice(read_rgb(video), round(seconds * FRAME_RATE))]
    truth = track(_write(output / "truth.mp4", iter(true_pictures)), new_tracker)
    place = place_of(truth)
    rows = {}
    for done, (name, spoil) in enumerate(SPOILS.items()):
        if progress is not None:
            progress(done, len(SPOILS))
        copy = track(_write(output / f"{name}.mp4", spoil(true_pictures, place)), new_tracker)
        pictures = score_columns(truth, {"truth": truth, "copy": copy}, place, truth)
        lips, score = compare_lips(copy, truth), pictures["copy"]
        rows[name] = CheckRow(
            score.fidelity.psnr_mouth,
            score.fidelity.ssim_mouth,
            score.fidelity.gmsd_mouth,
            score.fidelity.sharpness_ratio,
            lips.jaw_r,
            lips.aperture_r,
            lips.lag_frames,
            score.flicker / pictures["truth"].flicker,
            score.seam.luma_step,
            score.seam.chroma_step,
            score.seam.gradient_ratio,
        )
    return rows


def _same(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    yield from pictures


def _blurred(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    """The pasted part alone goes soft."""
    for picture, share in zip(pictures, _shares(pictures, place), strict=True):
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), _BLUR), np.float64)
        yield _mix(picture, soft - picture, share)


def _late(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    yield from [pictures[0]] * _LATE + pictures[:-_LATE]


def _frozen(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    """The first picture's lower face stays where the head goes."""
    size = 2 * place.mask.shape[0]
    still = extract(pictures[0], place.crops[0], size)
    for number, (picture, share) in enumerate(zip(pictures, _shares(pictures, place), strict=True)):
        back = cv2.warpAffine(
            still, place.crops[number].matrix(size), picture.shape[1::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        yield _mix(picture, np.asarray(back, np.float64) - picture, share)


def _flickering(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    for number, (picture, share) in enumerate(zip(pictures, _shares(pictures, place), strict=True)):
        yield _mix(picture, np.full(3, _FLICKER * (-1.0) ** number), share)


def _tinted(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    for picture, share in zip(pictures, _shares(pictures, place), strict=True):
        yield _mix(picture, np.array(_TINT, np.float64), share)


def _boxed(pictures: list[Picture], place: Place) -> Iterator[Picture]:
    """A little brighter, and pasted without a feather: a visible box."""
    for picture, share in zip(pictures, _shares(pictures, place), strict=True):
        yield _mix(picture, np.full(3, _BRIGHTER), np.asarray(share >= 0.5, np.float64))


SPOILS: Mapping[str, Spoil] = {
    "same": _same,
    "blurred": _blurred,
    "late": _late,
    "frozen": _frozen,
    "flickering": _flickering,
    "tinted": _tinted,
    "boxed": _boxed,
}
"""The ways in which a copy is spoilt, by name."""


def _shares(pictures: list[Picture], place: Place) -> Iterator[Series]:
    """The paste mask in the pixels of each picture."""
    for picture, crop in zip(pictures, place.crops, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(
            place.mask, crop.matrix(place.mask.shape[0]), picture.shape[1::-1], flags=flags
        )
        yield np.asarray(warped, np.float64)


def _mix(picture: Picture, change: Series, share: Series) -> Picture:
    """`change` (3,) or (h, w, 3) added to the picture by the share (h, w) of each pixel."""
    return np.asarray(np.clip(np.rint(picture + change * share[..., None]), 0, 255), np.uint8)


def _even(picture: Picture) -> Picture:
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _write(path: Path, pictures: Iterator[Picture]) -> Path:
    first = next(pictures)
    with VideoWriter(path, (first.shape[1], first.shape[0])) as video:
        video.write(to_i420(first))
        for picture in pictures:
            video.write(to_i420(picture))
    return path
