"""A mouth at rest for footage in which somebody speaks all the time: lent by moments when the lips touch."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Mask, Picture, Points, smooth_track
from engine.anchor.face_track import FaceTrack
from engine.anchor.loops import closed_lips
from engine.anchor.survey import Flags, Floats, Survey, Tell
from engine.anchor.transplant import aligned, misfit, transplant
from engine.picture.video import read_rgb

_LENDERS = 24  # pictures at most that lend their mouth
_GOOD = 0.03  # misfit that looks right
_WORST = 0.06  # misfit up to which a picture is shown at all
_CHANGE = 12.0  # price of another lender, in pictures of good misfit: rarely
_SIGMA = 4.0  # pictures: lenders fade into each other over about half a second
_LEAST = 0.04  # share of a lender below which it is left out

_ROUND = 0.08  # lips narrower or wider than usual by this share begin to show: an o, a smile
_PARTED = 0.02  # distance of the inner lips over that of the eyes' outer corners, the same
_DROP = 0.12  # how far below the chin the neck is replaced, share of the crop's side: where an open jaw was
_EDGE = 0.012  # softness of the silhouette's edge, the same
_CHIN = (176, 148, 152, 377, 400)
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_OUTER_EYES, _MOUTH_CORNERS, _INNER_LIPS = (33, 263), (61, 291), (13, 14)


@dataclass(frozen=True, slots=True)
class Lenders:
    """Which pictures can lend their mouth, and how well each fits each of the survey's n pictures.

    `pictures` their k numbers; `strain` float32 (k,), how little each mouth is at rest, 1 where it begins to
    show; `apart` float32 (n, k), the misfit, infinite without a face.
    """

    pictures: tuple[int, ...]
    strain: NDArray[np.float32]
    apart: NDArray[np.float32]

    @property
    def reach(self) -> Flags:
        """(n,): a lender looks in nearly the same direction."""
        return np.asarray(self.apart.min(axis=1, initial=np.inf) < _WORST, np.bool_)

    @property
    def effort(self) -> Floats:
        """(n,): how far from right the best lender's mouth would look, 1 being where it begins to show."""
        return np.asarray(np.sqrt(self.price.min(axis=1, initial=np.inf)), np.float32)

    @property
    def price(self) -> NDArray[np.float64]:
        """(n, k): what it costs to show each lender's mouth."""
        return np.asarray((self.apart / _GOOD) ** 2 + self.strain**2, np.float64)


def find_lenders(survey: Survey, usable: Flags) -> Lenders:
    """Pictures of `usable` (n,) with closed lips, neither rounded nor stretched, spread over the directions
    in which the face looks.
    """
    closed = np.flatnonzero(closed_lips(survey) & usable)
    shapes = np.array([_mouth(points) for points in survey.landmarks], np.float32)
    usual = np.nanmedian(shapes[usable, 0]) if usable.any() else np.nan
    strain = np.hypot((shapes[:, 0] / usual - 1) / _ROUND, shapes[:, 1] / _PARTED)
    # The median lender is good enough; the worse half is not needed.
    calm = closed[strain[closed] <= np.median(strain[closed])] if closed.size else closed
    ordered = calm[np.argsort(survey.yaw[calm], kind="stable")]
    parts = np.array_split(ordered, min(_LENDERS, max(1, len(ordered))))
    chosen = [int(part[np.argmin(strain[part])]) for part in parts if part.size]
    lending: list[Points] = [p for p in (survey.landmarks[number] for number in chosen) if p is not None]
    apart = [
        [np.inf] * len(lending) if points is None else [misfit(points, lender) for lender in lending]
        for points in survey.landmarks
    ]
    table = np.array(apart, np.float32).reshape(len(apart), -1)
    return Lenders(tuple(chosen), strain[chosen], table)


def _mouth(points: Points | None) -> tuple[float, float]:
    """How wide the mouth is and how far the lips are apart, over the distance of the eyes' outer corners,
    which a turned head shortens as it does the mouth.
    """
    if points is None:
        return float("nan"), float("nan")
    eyes, wide, gap = (
        float(np.linalg.norm(points[a] - points[b])) for a, b in (_OUTER_EYES, _MOUTH_CORNERS, _INNER_LIPS)
    )
    return wide / max(eyes, 1e-6), gap / max(eyes, 1e-6)


class RestedMouth:
    """A Retouch: puts the lenders' mouths onto pictures `first` and the following ones of the footage."""

    def __init__(
        self,
        video: Path,
        survey: Survey,
        lenders: Lenders,
        track: FaceTrack,
        first: int,
        tell: Tell | None = None,
    ) -> None:
        """Plans who lends to whom and reads the lenders' pictures. `track` begins with picture `first`."""
        self._track = track
        self._first = first
        self._shares = shares_of_lenders(lenders.price[first : first + len(track.crops)])
        lending = [(lenders.pictures[k], int(k)) for k in np.flatnonzero(self._shares.max(axis=0))]
        self._points: dict[int, Points] = {}
        self._pictures: dict[int, Picture] = {}
        by_number = dict(lending)
        for number, picture in enumerate(read_rgb(video, max(survey.size))):
            if number in by_number:
                points = survey.landmarks[number]
                if points is not None:
                    self._pictures[by_number[number]], self._points[by_number[number]] = picture, points
                if tell is not None:
                    tell("rest", len(self._pictures), len(by_number))
            if len(self._pictures) == len(by_number):
                break

    def __call__(self, number: int, picture: Picture) -> Picture:
        """The picture with its mouth at rest."""
        at = number - self._first
        points, shares = self._track.landmarks[at], self._shares[at]
        crop, shape = self._track.crops[at], (picture.shape[0], picture.shape[1])
        own = _silhouette(points, crop.size, shape)
        changed = np.zeros(picture.shape, np.float32)
        for k in (int(k) for k in np.flatnonzero(shares)):
            lender = self._points[k]
            moved = _moved(lender, aligned(crop, points, lender), crop)
            inside = np.minimum(own, _silhouette(moved, crop.size, shape)) * shares[k]
            rested = transplant(picture, points, self._pictures[k], lender).astype(np.float32)
            changed += (rested - picture) * inside[..., None]
        return np.asarray(np.clip(np.rint(picture + changed), 0, 255), np.uint8)


def _moved(points: Points, there: Crop, here: Crop) -> Points:
    """Points in the square `there` of one picture to where they lie in the square `here` of another."""
    cos, sin = math.cos(here.angle) * here.size, math.sin(here.angle) * here.size
    back = np.array([[cos, sin], [-sin, cos]])
    placed = (there.to_crop(points, 1) - 0.5) @ back + np.array([here.cx, here.cy])
    return np.asarray(placed, np.float32)


def _silhouette(points: Points, side: float, shape: tuple[int, int]) -> Mask:
    """float32 `shape` in [0, 1]: the face and the neck right below its chin, without the wall and the hair
    beside them, which another picture shows elsewhere.
    """
    dropped = points[list(_CHIN)] + np.array([0, _DROP * side], np.float32)
    hull = cv2.convexHull(np.concatenate([points[list(_OVAL)], dropped]))
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint((hull - 0.5) * 16).astype(np.int32), 255, lineType=cv2.LINE_AA, shift=4)
    edge = _EDGE * side
    shrunk = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(edge) + 1,) * 2))
    return np.asarray(cv2.GaussianBlur(shrunk, (0, 0), edge).astype(np.float32) / 255, np.float32)


def shares_of_lenders(price: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, k) for prices (n, k): how much of each lender's mouth each of n pictures in a row shows; rows sum
    to one and change slowly.

    The cheapest way through time is sought, where each change of the lender costs as well.
    """
    total, came_from = price[0], []
    for row in price[1:]:
        best = int(np.argmin(total))
        change = total[best] + _CHANGE < total
        came_from.append(np.where(change, best, np.arange(len(total))))
        total = np.where(change, total[best] + _CHANGE, total) + row
    way = [int(np.argmin(total))]
    for origin in reversed(came_from):
        way.append(int(origin[way[-1]]))
    chosen = np.zeros(price.shape)
    chosen[np.arange(len(price)), way[::-1]] = 1
    shares = np.clip(smooth_track(chosen, sigma=_SIGMA), 0, 1)
    shares[shares < _LEAST] = 0
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
