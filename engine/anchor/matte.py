"""The matte of an avatar: which pixels of its anchor are the presenter, for a clear background.

The matte of a clip is optional: a grey video beside it, one picture a frame, white where the presenter is.
Either all clips of a package have one or none is used.
"""

import itertools
import threading
import zlib
from pathlib import Path
from typing import Protocol

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import AvatarCard
from engine.anchor.crop import Picture
from engine.errors import AvatarError, BadMediaError
from engine.picture.video import read_i420, read_rgb
from engine.picture.yuv import Frame, planes
from engine.speech.audio import FRAME_RATE

_SURE = 245
"""From here on (96 % of 255) a pixel's colour is the presenter's own, without the wall behind."""

_EDGE, _CHROMA_EDGE = (
    5,
    3,
)  # pixels along the edge into which chroma and the codec of the anchor carry the wall
_REACH = 15  # side of the square whose sure pixels colour the others; 15 * 15 * 255 fits 16 bits
_GREY = 128

_BLACK, _WHITE = 16, 235  # limited range, as all pictures here
_TO_VIDEO = np.rint(_BLACK + np.arange(256) * ((_WHITE - _BLACK) / 255)).astype(np.uint8)
_FROM_VIDEO = np.rint(np.clip((np.arange(256) - _BLACK) / (_WHITE - _BLACK), 0, 1) * 255).astype(np.uint8)

Plane = NDArray[np.uint8]


class Matter(Protocol):
    """Tells the person in a video from what is behind, one picture after the other."""

    def matte(self, rgb: Picture, timestamp_ms: int) -> Plane:
        """The matte uint8 (h, w), 255 for the person, of an RGB frame uint8 (h, w, 3); timestamps must grow.

        Raises a KouboError where there is none.
        """
        ...


class MatteVideo:
    """A Matter that has it from a grey video of the same length, made in any other program."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pictures = read_rgb(path)
        self._read = 0

    def matte(self, rgb: Picture, timestamp_ms: int) -> Plane:
        """The picture at that time, at the size of `rgb`. Raises AvatarError when it ends early or does not
        fit.
        """
        skipped = max(0, round(timestamp_ms * FRAME_RATE / 1000) - self._read)
        picture = next(itertools.islice(self._pictures, skipped, None), None)
        self._read += skipped + 1
        if picture is None:
            raise AvatarError(
                f"{self._path.name} ends before its video, after {timestamp_ms / 1000:.2f} s; export both "
                "with the same length."
            )
        (height, width), (high, wide) = rgb.shape[:2], picture.shape[:2]
        if abs(wide * height - high * width) > 2 * max(wide, high):
            raise AvatarError(
                f"{self._path.name} is {wide}x{high}, its video {width}x{height}; "
                "export both with the same shape."
            )
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Mattes:
    """The mattes of one avatar by frame; packed in memory, safe to share between threads."""

    def __init__(self, folder: Path, card: AvatarCard) -> None:
        """Look at `folder`'s matte without decoding it. Raises AvatarError when it does not fit."""
        self._folder = folder
        self._card = card
        self._packed: list[bytes] = []
        self._lock = threading.Lock()
        self._check()

    def load(self) -> None:
        """Decode them, if that is not done. Raises AvatarError when the file is damaged."""
        with self._lock:
            if not self._packed:
                self._packed = self._read()

    def __getitem__(self, frame: int) -> Plane:
        """The matte of a frame, uint8 (h, w), 255 where all is presenter. Raises AvatarError like `load`."""
        self.load()
        width, height = self._card.size
        return np.frombuffer(zlib.decompress(self._packed[frame]), np.uint8).reshape(height, width)

    def _check(self) -> None:
        for clip in self._card.clips:
            name = clip.matte_file
            try:
                with av.open(str(self._folder / name)) as container:
                    video = next(iter(container.streams.video), None)
                    found = (video.frames, video.width, video.height) if video else (0, 0, 0)
            except av.error.FFmpegError as error:
                raise self._damaged(f"{name} cannot be read ({error.strerror})") from error
            wanted = (clip.frames, *self._card.size)
            if found != wanted:
                raise self._damaged(
                    f"{name} holds {found[0]} pictures of {found[1]}x{found[2]}, its anchor "
                    f"{wanted[0]} of {wanted[1]}x{wanted[2]}"
                )

    def _read(self) -> list[bytes]:
        packed: list[bytes] = []
        for clip in self._card.clips:
            before = len(packed)
            try:
                for frame in read_i420(self._folder / clip.matte_file):
                    packed.append(zlib.compress(_FROM_VIDEO[planes(frame)[0]].tobytes(), 1))
            except BadMediaError as error:
                raise self._damaged(str(error)) from error
            if len(packed) - before != clip.frames:
                raise self._damaged(f"{clip.matte_file} breaks off after {len(packed) - before} pictures")
        return packed

    def _damaged(self, what: str) -> AvatarError:
        return AvatarError(
            f"The avatar {self._card.name} is damaged: {what}; make the matte again or remove it."
        )


def find_mattes(folder: Path, card: AvatarCard) -> Mattes | None:
    """The mattes of the package in `folder`, None where a clip has none. Raises AvatarError."""
    whole = all((folder / clip.matte_file).is_file() for clip in card.clips)
    return Mattes(folder, card) if whole else None


def cut_out(picture: Frame, matte: Plane) -> Frame:
    """The I420 `picture` with its wall painted over in the presenter's own colours, carried outwards.

    What is cut out by the matte (h, w) then has no line of the wall along its edge.
    """
    out = np.empty_like(picture)
    sure = _shrunk((matte >= _SURE).view(np.uint8), _EDGE)
    half = _shrunk(np.minimum.reduce([sure[y::2, x::2] for y in (0, 1) for x in (0, 1)]), _CHROMA_EDGE)
    luma, *chroma = planes(out)
    own_luma, *own_chroma = planes(picture)
    _carry_outwards(own_luma, sure, luma)
    for target, source in zip(chroma, own_chroma, strict=True):
        _carry_outwards(source, half, target)
    return out


def stack(picture: Frame, matte: Plane) -> Frame:
    """The I420 `picture` above its matte (h, w), in grey: one video of twice the height that carries both."""
    height, width = matte.shape
    out = np.full((3 * height, width), _GREY, np.uint8)
    for target, source in zip(planes(out), planes(picture), strict=True):
        target[: len(source)] = source
    planes(out)[0][height:] = cv2.LUT(matte, _TO_VIDEO)
    return out


def _shrunk(region: Plane, side: int) -> Plane:
    """A region of ones without its edge; the picture's own edge is none."""
    return np.asarray(cv2.erode(region, np.ones((side, side), np.uint8), borderValue=1), np.uint8)


def _carry_outwards(source: Plane, sure: Plane, target: Plane) -> None:
    """Fill `target` with `source` where `sure` is 1, near it with the mean of those pixels, else flat."""
    kept = cv2.multiply(source, sure)
    sums = cv2.boxFilter(kept, cv2.CV_16U, (_REACH, _REACH), normalize=False, borderType=cv2.BORDER_CONSTANT)
    counts = cv2.boxFilter(
        sure, cv2.CV_16U, (_REACH, _REACH), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    filled = cv2.convertScaleAbs(cv2.divide(sums, counts))
    filled[counts == 0] = round(cv2.mean(source, sure)[0])
    cv2.copyTo(source, sure, filled)
    target[...] = filled
