"""What can be told of an avatar's videos by reading them once."""

from collections.abc import Collection, Iterator
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import AvatarCard, Clip
from engine.anchor.package_checks import Check
from engine.errors import BadMediaError
from engine.picture.video import read_i420
from engine.picture.yuv import Frame, planes

_THUMB = (96, 96)
_JUMP = 1.5  # times the larger steps from picture to picture
LARGER = 95
"""Percentile of the steps from picture to picture that a loop's jump is measured by."""

Thumb = NDArray[np.float32]

_COVER = (0.02, 0.98)  # share of the picture that a presenter covers
_BLACK, _SPAN = 16, 219  # limited range


class Film:
    """One video of a package while it is read; afterwards `damage` tells why it is not what the card says."""

    def __init__(self, folder: Path, card: AvatarCard, file: str, frames: int) -> None:
        self.damage = ""
        self.steps: list[float] = []
        self.covers: list[float] = []
        self._path = folder / file
        self._file = file
        self._wanted = (frames, *card.size)
        self._thumbs: list[Thumb] = []

    def read(self) -> Iterator[tuple[int, Frame]]:
        """Number and I420 picture, one after the other, as far as they fit the card."""
        frames, width, height = self._wanted
        self.damage = self._header()
        if self.damage:
            return
        count = 0
        try:
            for count, frame in enumerate(read_i420(self._path), start=1):
                if count > frames or frame.shape != (height * 3 // 2, width):
                    break
                self._note(frame)
                yield count - 1, frame
        except BadMediaError as error:
            self.damage = str(error)
        if not self.damage and len(self.covers) != frames:
            self.damage = self._unlike(f"{len(self.covers)} pictures of that size that can be decoded")

    def jump(self) -> float:
        """The step from the last picture to the first, against the larger ones of the steps within."""
        if len(self.steps) < 2:
            return 0.0
        first, last = self._thumbs
        return step(first, last) / max(float(np.percentile(self.steps, LARGER)), 0.1)

    def _header(self) -> str:
        """Why the file is no video of the card's, before a picture is decoded."""
        try:
            with self._path.open("rb") as file:
                start = file.read(12)
            # What else FFmpeg opens, such as playlists, may refer to other files.
            if start[4:8] != b"ftyp":
                return f"{self._file} is no MP4 file; make the avatar anew."
            with av.open(str(self._path)) as container:
                video = next(iter(container.streams.video), None)
                found = (video.frames, video.width, video.height) if video else (0, 0, 0)
        except (av.error.FFmpegError, OSError) as error:
            return f"{self._file} cannot be read ({error.strerror}); make the avatar anew."
        return "" if found == self._wanted else self._unlike(f"{found[0]} of {found[1]}x{found[2]}")

    def _unlike(self, found: str) -> str:
        frames, width, height = self._wanted
        return (
            f"{self._file} should hold {frames} pictures of {width}x{height} and holds {found}; "
            "make the avatar anew."
        )

    def _note(self, frame: Frame) -> None:
        luma = planes(frame)[0]
        self.covers.append((float(cv2.mean(luma)[0]) - _BLACK) / _SPAN)
        small = thumb(frame)
        if self._thumbs:
            self.steps.append(step(self._thumbs[-1], small))
        # The first and the newest.
        self._thumbs = [*self._thumbs[:1], small]


def thumb(frame: Frame) -> Thumb:
    """An I420 picture's luminance made small, so that the codec's noise and its key frames are no motion."""
    return np.asarray(cv2.resize(planes(frame)[0], _THUMB, interpolation=cv2.INTER_AREA), np.float32)


def step(one: Thumb, other: Thumb) -> float:
    """How far two thumbs lie apart, in levels of 255."""
    return float(np.abs(one - other).mean())


def check_clip(film: Film, clip: Clip) -> list[Check]:
    """A clip that was read to its end; of one that goes round, whether its end meets its beginning."""
    if film.damage:
        return [Check("clip", "problem", film.damage)]
    found = [Check("clip", "ok", f"The clip {clip.name} holds its {clip.frames} pictures.")]
    if clip.loop != "forward":
        return found
    jump = film.jump()
    if jump > _JUMP:
        sentence = f"The clip {clip.name} jumps where it starts again, {jump:.1f} times its larger steps"
        return [*found, Check("loop", "advice", f"{sentence}; let it go to and fro (pingpong).")]
    return [*found, Check("loop", "ok", f"The clip {clip.name} starts again without a jump.")]


def check_mattes(folder: Path, card: AvatarCard) -> Check | None:
    """What can be told without decoding: no mattes or too few; None where they are to be read."""
    names = [clip.matte_file for clip in card.clips]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return None
    if len(missing) == len(names):
        return Check("matte", "ok", "It has no matte: it does not stand before a clear background.")
    return Check(
        "matte",
        "advice",
        f"Its mattes are not used because {missing[0]} is missing; make it or remove the others.",
    )


def check_covers(films: Collection[Film]) -> Check:
    """Mattes that were read to their end."""
    for film in films:
        if film.damage:
            return Check("matte", "problem", film.damage)
    cover = float(np.clip(np.mean([cover for film in films for cover in film.covers]), 0, 1))
    if not _COVER[0] < cover < _COVER[1]:
        return Check(
            "matte", "advice", f"By its matte {cover:.0%} of the picture is the presenter; make it again."
        )
    return Check("matte", "ok", f"Its matte fits; the presenter covers {cover:.0%} of the picture.")
