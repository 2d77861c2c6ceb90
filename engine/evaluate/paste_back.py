"""How well a speaking presenter sits in its untouched pictures: seam, sharpness, flicker of the live core."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Crop, Mask, Picture, extract
from engine.anchor.package import Avatar
from engine.errors import BadMediaError
from engine.evaluate.flicker import FlickerMeter
from engine.evaluate.pixels import Series, luminance
from engine.evaluate.seam import Border, SeamMeter
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import to_rgb
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, load_speech

_LEAST, _MOST = 96, 640  # pixels of a face that is measured
_FINE = 1.5  # Gaussian sigma, pixels of the anchor
_PASTED, _FEW = 2.0, 50  # levels of difference, pixels
_MOUTH_REACH = 0.75  # half the side of the mouth's square, in widths of closed lips
_ROWS = 5  # of the sheet, from nearly closed to widest
_CELL = 288  # pixels
_WIDER = 1.15  # than the crop is what a cell shows
_GAIN = 4  # of the difference
_ENLARGED = 3
_FRAME = (250, 249, 246)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PasteScore:
    """A speaking presenter against the untouched pictures of the same frames.

    `gradient_ratio`, `luma_step`, `chroma_step` as in `SeamScore`, each frame with its own mask, at the size
    of the mouth's pictures; the rest at the anchor's own resolution. `sharpness`: fine structure,
    finer than 1.5 pixels, of the skin that changed, inside the mask and outside of a square around the lips,
    over that of the untouched; roots are averaged, so that pores count and a single edge does not.
    `flicker_ratio`: flicker of the skin over the untouched. `flicker` and `flicker_untouched`: in the square,
    in levels of 255. `pictures`: how many showed a drawn mouth.
    """

    gradient_ratio: float
    luma_step: float
    chroma_step: float
    sharpness: float
    flicker_ratio: float
    flicker: float
    flicker_untouched: float
    pictures: int


@dataclass(frozen=True, slots=True)
class _Spoken:
    """One picture of the live core and its untouched anchor, RGB; `frame` its number."""

    frame: int
    picture: Picture
    untouched: Picture


class _Meters:
    """All measures of one avatar, picture by picture."""

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        side = float(np.median([crop.size for crop in avatar.card.crops]))
        self._size = int(np.clip(round(side / 2) * 2, _LEAST, _MOST))
        self._lips = _around_lips(avatar, self._size)
        self._borders: dict[int, Border] = {}
        self._seam = SeamMeter()
        self._fine = np.zeros(2)
        self._mouth, self._skin = ((FlickerMeter(), FlickerMeter()) for _ in range(2))
        self.kept: list[tuple[float, _Spoken]] = []

    def restart(self) -> None:
        """Another recording begins."""
        for meter in (*self._mouth, *self._skin):
            meter.restart()

    def add(self, spoken: _Spoken) -> None:
        """The next picture."""
        crop = self._avatar.card.crops[spoken.frame]
        mask = _grown(self._avatar.mask(spoken.frame), self._size)
        ours, plain = (extract(one, crop, self._size) for one in (spoken.picture, spoken.untouched))
        skin = mask > 0.5
        skin[self._lips] = False
        both = luminance(ours), luminance(plain)
        for luma, mouth, cheeks in zip(both, self._mouth, self._skin, strict=True):
            mouth.add(luma[self._lips])
            cheeks.add(np.where(skin, luma, 0))
        opened = float(np.abs(both[0] - both[1]).mean())
        if opened == 0:
            return
        # At the mouth's size, as the report measures it: bands of the border are counted in pixels.
        if spoken.frame not in self._borders:
            self._borders[spoken.frame] = Border(self._avatar.mask(spoken.frame))
        side = self._avatar.crop_size
        small, below = (extract(one, crop, side) for one in (spoken.picture, spoken.untouched))
        self._seam.add(small, below, self._borders[spoken.frame])
        # Where the mouth changed something; elsewhere both are the same by construction.
        pasted = skin & (np.abs(both[0] - both[1]) > _PASTED)
        if np.count_nonzero(pasted) >= _FEW:
            self._fine += [float(np.mean(np.sqrt(np.abs(_fine(luma)[pasted])))) for luma in both]
        self.kept.append((opened, spoken))

    def score(self) -> PasteScore:
        """The figures so far. Raises BadMediaError when nobody spoke."""
        if not self.kept:
            raise BadMediaError("Nothing was said in these recordings; give recordings of speech.")
        seam = self._seam.score()
        ours, plain = self._fine**2
        mouth, skin = ([meter.levels for meter in pair] for pair in (self._mouth, self._skin))
        return PasteScore(
            seam.gradient_ratio, seam.luma_step, seam.chroma_step, float(ours / plain) if plain > 0 else 1.0,
            skin[0] / max(skin[1], 1e-9), mouth[0], mouth[1], len(self.kept),
        )  # fmt: skip


def score_paste(
    avatar: Avatar,
    speech: Sequence[Path],
    mouth: MouthRuntime,
    *,
    seconds: float = 4.0,
    progress: Progress | None = None,
) -> tuple[PasteScore, Picture]:
    """Lets `avatar` say the first `seconds` of each sound file: the score, and a contact sheet (h, w, 3).

    A row of the sheet for each of several openings: untouched, speaking, their difference times 4 around
    grey; lips, chin and both jaws enlarged 3 times. Raises BadMediaError for files that cannot be used or in
    which nothing is said.
    """
    meters = _Meters(avatar)
    for number, file in enumerate(speech):
        meters.restart()
        for spoken in _speak(avatar, file, mouth, seconds):
            meters.add(spoken)
        if progress is not None:
            progress(number + 1, len(speech))
    score = meters.score()
    ordered = sorted(meters.kept, key=lambda one: one[0])
    chosen = [ordered[round(place)][1] for place in np.linspace(0, len(ordered) - 1, _ROWS)]
    return score, np.vstack([_row(avatar, one) for one in chosen])


def _speak(avatar: Avatar, file: Path, mouth: MouthRuntime, seconds: float) -> Iterator[_Spoken]:
    """What the live core shows, but for the pictures in which one clip fades into another."""
    samples = load_speech(file)[: round(seconds * SAMPLE_RATE)]
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(samples)
    live.finish()
    for _ in range(-(-samples.size // SAMPLES_PER_TICK)):
        tick = live.tick()
        if tick.other is None:
            yield _Spoken(tick.frame, to_rgb(tick.picture), avatar.rgb(tick.frame))


def _fine(luma: Series) -> Series:
    return np.asarray(luma - cv2.GaussianBlur(luma, (0, 0), _FINE), np.float64)


def _grown(mask: Mask, size: int) -> Mask:
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def _around_lips(avatar: Avatar, size: int) -> tuple[slice, slice]:
    """A square that holds the mouth at any opening."""
    left, top, right, bottom = avatar.card.mouth_box
    reach = _MOUTH_REACH * (right - left)
    x, y = (left + right) / 2, (top + bottom) / 2
    rows, columns = (
        slice(max(0, round((at - reach) * size)), min(size, round((at + reach) * size))) for at in (y, x)
    )
    return rows, columns


def _row(avatar: Avatar, spoken: _Spoken) -> Picture:
    """One row of the sheet."""
    crop = avatar.card.crops[spoken.frame]
    outer = Crop(crop.cx, crop.cy, crop.size * _WIDER, crop.angle)
    plain, ours = (extract(one, outer, _CELL) for one in (spoken.untouched, spoken.picture))
    apart = np.clip(128 + _GAIN * (ours.astype(np.int16) - plain), 0, 255).astype(np.uint8)
    left, top, right, bottom = avatar.card.mouth_box
    places = ((left + right) / 2, (top + bottom) / 2), (0.5, 0.74), (0.27, 0.56), (0.73, 0.56)
    close = [extract(spoken.picture, _detail(crop, *place), _CELL) for place in places]
    framed = [
        cv2.copyMakeBorder(cell[1:-1, 1:-1], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=_FRAME)
        for cell in (plain, ours, apart, *close)
    ]
    return np.hstack(framed)


def _detail(crop: Crop, x: float, y: float) -> Crop:
    """A square around a place in the crop, that fills a cell when enlarged."""
    right, down = (x - 0.5) * crop.size, (y - 0.5) * crop.size
    cos, sin = math.cos(crop.angle), math.sin(crop.angle)
    centre = crop.cx + cos * right - sin * down, crop.cy + sin * right + cos * down
    return Crop(*centre, _CELL / _ENLARGED, crop.angle)
