"""From surveyed footage to one clip of a package: pictures, crops, outlines, shares, mattes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import Clip
from engine.anchor.crop import Crop, Picture
from engine.anchor.face_track import FaceTrack
from engine.anchor.loops import IdleLoop
from engine.anchor.matte import Matter, Plane
from engine.anchor.survey import Tell
from engine.picture.fit import Fit, Size
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import Frame, to_i420
from engine.speech.audio import FRAME_RATE

Retouch = Callable[[int, Picture], Picture]
"""Changes a picture of the footage, told which one it is."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which pictures of the footage make a clip: a frame each, in order.

    `others`, earlier ones, are mixed in by `shares` in [0, 1]; 0 shows the picture as it is.
    """

    pictures: tuple[int, ...]
    others: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def start(self) -> int:
        """Its earliest picture."""
        return min(*self.pictures, *self.others)


def whole_cut(first: int, last: int) -> Cut:
    """Pictures `first` to `last` (exclusive) as they are."""
    pictures = tuple(range(first, last))
    return Cut(pictures, pictures, (0.0,) * len(pictures))


def loop_cut(loop: IdleLoop) -> Cut:
    """The pictures of an idle loop; at a forward one's end those before its beginning fade in."""
    pictures = tuple(range(loop.first, loop.last))
    position = (np.arange(loop.fade) + 1) / (loop.fade + 1)
    fade = position * position * (3 - 2 * position)
    plain = loop.frames - loop.fade
    others = (*pictures[:plain], *range(loop.first - loop.fade, loop.first))
    return Cut(pictures, others, (*(0.0,) * plain, *(float(share) for share in fade)))


def film_clip(
    package: Path,
    template: Clip,
    video: Path,
    size: Size,
    cut: Cut,
    track: FaceTrack,
    *,
    canvas: Size | None = None,
    matter: Matter | None = None,
    retouch: Retouch | None = None,
    tell: Tell | None = None,
) -> Clip:
    """Write the pictures of a clip, and its mattes, into the folder `package`; returns the clip with its
    crops, outlines and shares.

    `template` names it and says where it lies. `video` is the surveyed file, read again up to the cut's end,
    `size` (width, height) that of its survey; `track` follows the face from the cut's first picture on.
    `canvas`: the size that is written, where it is another; the pictures are scaled into it.
    Raises BadMediaError, and what the matter raises.
    """
    fit = Fit(size, canvas or size)
    backdrop: Frame | None = None
    target = package / template.file
    target.parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(target, fit.canvas))
        mattes = (
            stack.enter_context(VideoWriter(package / template.matte_file, fit.canvas)) if matter else None
        )
        for done, (picture, matte) in enumerate(_shown(video, max(size), cut, matter, retouch), 1):
            frame = to_i420(picture)
            backdrop = fit.backdrop(frame) if backdrop is None else backdrop
            writer.write(fit.frame(frame, backdrop))
            if mattes is not None and matte is not None:
                mattes.write(to_i420(np.repeat(fit.plane(matte)[..., None], 3, axis=2)))
            if tell is not None:
                tell("film", done, len(cut.pictures))
    clip = _clip(template, track, cut)
    return replace(clip, crops=tuple(map(fit.crop, clip.crops)))


def _shown(
    video: Path, max_side: int, cut: Cut, matter: Matter | None, retouch: Retouch | None
) -> Iterator[tuple[Picture, Plane | None]]:
    """The pictures of the cut with their mattes, faded where it says so."""
    mixed = {other for other, share in zip(cut.others, cut.shares, strict=True) if share > 0}
    needed = mixed.union(cut.pictures)
    kept: dict[int, tuple[Picture, Plane | None]] = {}
    frames = iter(zip(cut.pictures, cut.others, cut.shares, strict=True))
    frame = next(frames, None)
    for number, picture in enumerate(read_rgb(video, max_side)):
        if frame is None:
            return
        if number not in needed:
            continue
        shown = retouch(number, picture) if retouch else picture
        both = (shown, matter.matte(picture, number * 1000 // FRAME_RATE) if matter else None)
        if number in mixed:
            kept[number] = both
        if number == frame[0]:
            yield _mixed(both, kept[frame[1]], frame[2]) if frame[2] > 0 else both
            frame = next(frames, None)


def _mixed(
    one: tuple[Picture, Plane | None], other: tuple[Picture, Plane | None], share: float
) -> tuple[Picture, Plane | None]:
    picture = _mix(one[0], other[0], share)
    matte = None if one[1] is None or other[1] is None else _mix(one[1], other[1], share)
    return picture, matte


def _mix(one: NDArray[np.uint8], other: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(one, 1 - share, other, share, 0), np.uint8)


def _clip(template: Clip, track: FaceTrack, cut: Cut) -> Clip:
    """The template with the track's rows that the cut shows, mixed as its pictures are."""
    rows = np.array([[c.cx, c.cy, c.size, c.angle] for c in track.crops])
    rows[:, 3] = np.unwrap(rows[:, 3])
    ones, others = np.array(cut.pictures) - cut.start, np.array(cut.others) - cut.start
    share = np.array(cut.shares)[:, None]
    crops, outlines, shares = (
        values[ones] * (1 - share) + values[others] * share
        for values in (rows, track.outlines, track.shares[:, None])
    )
    return replace(
        template,
        crops=tuple(Crop(*(float(value) for value in row)) for row in crops),
        outlines=tuple(tuple(float(value) for value in row) for row in outlines),
        shares=tuple(float(value) for value in shares[:, 0]),
    )
