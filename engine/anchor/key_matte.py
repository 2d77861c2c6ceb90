"""The matte of somebody in front of a plain wall, by the wall's colour: green, blue, or white and grey."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.anchor.matte import Plane

_TOP, _SIDE, _DOWN = (
    0.06,
    0.05,
    0.6,
)  # the wall is looked for along the upper edge and both sides, down to here
_PLAIN = 0.92  # share of that border which has to agree with the wall's colour
_AGREE = 10.0  # levels of 255, of colour, by which it may differ
_SATURATED = 28.0  # distance of a wall's colour from grey from which it keys by colour alone
_BRIGHT = 170.0  # brightness that a wall without colour needs
_UNEVEN = 45.0  # levels of brightness by which light may fall off along the wall
_STEP = 8  # the wall's brightness is fitted on every eighth pixel
_KEY = (0.25, 0.62)  # share of the wall's colour from which, and up to which, a pixel is in between
_GREY_KEY = (5.0, 16.0)  # levels off a wall without colour: noise up to here, and at least person
_MIXED = 7  # pixels around an edge in which person and wall mix
_FAINT, _SOLID = 12, 243  # of a matte: hardly, and almost wholly person
_SPECK = 0.001  # share of the picture below which an island or a hole is noise
_UNSURE = 0.10  # share of the picture that may be neither person nor wall
_FOOT = 0.1  # share of the picture's width that the person takes at its lower edge

_RED = 0

Colours = NDArray[np.float32]


class KeyMatter:
    """A Matter for footage in front of one plain wall."""

    def __init__(self, wall: Colours) -> None:
        """`wall` float32 (3,): its colour as Y, Cr, Cb, 0 to 255; `find_wall` finds it."""
        self._wall = wall
        self._colour = wall[1:] - 128
        self._saturation = float(np.linalg.norm(self._colour))

    @property
    def coloured(self) -> bool:
        """The wall is green, blue or another strong colour, whose light on the person can be told."""
        return self._saturation >= _SATURATED

    def matte(self, rgb: Picture, timestamp_ms: int) -> Plane:
        """The matte uint8 (h, w) of an RGB picture uint8 (h, w, 3)."""
        ycc = _ycc(rgb)
        if not self.coloured:
            return self._by_distance(ycc)
        low, high = _KEY
        wall = np.clip((self._share(ycc) - low) / (high - low), 0, 1)
        matte = _without_islands(np.asarray(np.rint(255 * (1 - wall)), np.uint8))
        least = _SPECK * matte.size
        # A hole of pure wall, as between arm and body, stays; the wall's light on a cheek is no hole.
        return _without_holes(matte, lambda hole, area, _: area < least or bool(matte[hole].min() > _FAINT))

    def clean(self, rgb: Picture) -> Picture:
        """The picture with the wall's light taken off the person; the wall itself stays."""
        if not self.coloured:
            return rgb
        low, high = _KEY
        person = 1 - np.clip((self._share(_ycc(rgb)) - low) / (high - low), 0, 1)
        strong, *others = (rgb[..., channel] for channel in _by_strength(self._wall))
        # No skin and hardly any cloth has more of the wall's channel than of both others.
        excess = cv2.subtract(strong, np.maximum(*others)).astype(np.float32)
        out = rgb.copy()
        out[..., _by_strength(self._wall)[0]] = strong - np.rint(excess * person).astype(np.uint8)
        return out

    def _share(self, ycc: Colours) -> Colours:
        """(h, w): how much of the wall's colour a pixel has, 1 being all of it."""
        colour = ycc[..., 1:] - 128
        along = colour @ (self._colour / self._saturation**2)
        across = np.abs(
            colour @ (np.array([-self._colour[1], self._colour[0]], np.float32) / self._saturation**2)
        )
        # A tint beside the wall's own, such as yellow beside green, is no wall.
        return np.asarray(along - 0.6 * across, np.float32)

    def _by_distance(self, ycc: Colours) -> Plane:
        """The matte (h, w) in front of a wall without colour. Near what is wall for sure it tells how far off
        a pixel is, over how far off its surroundings are at most, an edge being a mixture; elsewhere is
        person.
        """
        apart = np.abs(ycc[..., 0] - _lit(ycc, self._wall))
        apart += 1.5 * np.linalg.norm(ycc[..., 1:] - self._wall[1:], axis=2)
        apart = cv2.GaussianBlur(apart, (0, 0), 0.7)
        low, high = _GREY_KEY
        person = np.where(apart < (low + high) / 2, 0, 255).astype(np.uint8)
        # White shirts and teeth are like the wall; only what runs out of the picture may be wall, if plain.
        uneven = 1.5 * low
        person = _without_holes(
            person, lambda hole, _, inside: inside or bool(np.median(apart[hole]) > uneven)
        )
        person = _without_islands(person)
        box = np.ones((_MIXED, _MIXED), np.uint8)
        share = np.clip((apart - low) / np.maximum(0.9 * cv2.dilate(apart, box) - low, high - low), 0, 1)
        edge = cv2.bitwise_and(cv2.dilate(255 - person, box), cv2.dilate(person, box))
        return np.where(np.asarray(edge) > 0, np.rint(255 * share), person).astype(np.uint8)


def find_wall(rgb: Picture) -> Colours | None:
    """The colour (3,) as Y, Cr, Cb of the plain wall behind somebody; None where there is no such wall."""
    ycc = _ycc(rgb)
    border = ycc[_border(rgb.shape[:2])]
    wall = np.median(border, axis=0)
    if np.linalg.norm(wall[1:] - 128) >= _SATURATED:
        if _by_strength(wall)[0] == _RED:
            return None  # skin is like a red or yellow wall
    elif wall[0] < _BRIGHT:
        return None  # clothes and hair are like a grey or dark wall too often
    agrees = np.linalg.norm(border[:, 1:] - wall[1:], axis=1) < _AGREE
    agrees &= np.abs(border[:, 0] - wall[0]) < _UNEVEN
    return np.asarray(wall, np.float32) if agrees.mean() >= _PLAIN else None


def key_matter(pictures: list[Picture]) -> KeyMatter | None:
    """The matter for footage of which `pictures` are a few; None where the wall is not plain in all of them,
    or the person cannot be told from it well.
    """
    walls = [find_wall(picture) for picture in pictures]
    known = [wall for wall in walls if wall is not None]
    if len(known) < len(walls) or not known:
        return None
    matter = KeyMatter(np.asarray(np.median(known, axis=0), np.float32))
    mattes = [matter.matte(picture, 0) for picture in pictures]
    return matter if all(_sure(matte) for matte in mattes) else None


def _sure(matte: Plane) -> bool:
    """A person of fit size is seen, in one piece down to the lower edge, and little is in between."""
    person = matte > 127
    unsure = float(np.mean((matte > _FAINT) & (matte < _SOLID)))
    pieces, _, sizes, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8))
    largest = float(sizes[1:, cv2.CC_STAT_AREA].max() / max(person.sum(), 1)) if pieces > 1 else 0.0
    whole = largest > 0.97 and float(person[-1].mean()) > _FOOT
    return bool(0.08 < person.mean() < 0.9) and unsure < _UNSURE and whole


def _by_strength(wall: Colours) -> list[int]:
    """The channels of RGB, that of which the wall has most first."""
    rgb = cv2.cvtColor(wall.reshape(1, 1, 3).astype(np.uint8), cv2.COLOR_YCrCb2RGB)[0, 0]
    return [int(channel) for channel in np.argsort(rgb)[::-1]]


def _border(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = shape
    border = np.zeros((height, width), np.bool_)
    border[: max(2, round(_TOP * height))] = True
    side = max(2, round(_SIDE * width))
    border[: round(_DOWN * height), :side] = border[: round(_DOWN * height), -side:] = True
    return border


def _lit(ycc: Colours, wall: Colours) -> Colours:
    """(h, w): the wall's brightness, which falls off smoothly: a surface of the second order through what has
    the wall's colour.
    """
    height, width = ycc.shape[:2]
    few = cv2.resize(ycc, (width // _STEP, height // _STEP), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[0 : height // _STEP, 0 : width // _STEP].astype(np.float32)
    like = (np.linalg.norm(few[..., 1:] - wall[1:], axis=2) < _AGREE / 2) & (
        np.abs(few[..., 0] - wall[0]) < _UNEVEN
    )
    reached = _from_outside(like)
    terms = _terms(x * _STEP / width, y * _STEP / height)
    values = few[..., 0]
    use = reached
    fit = np.array([wall[0], 0, 0, 0, 0, 0], np.float32)
    for _ in range(2):
        if use.sum() < 100:
            break
        fit = np.linalg.lstsq(terms[use], values[use], rcond=None)[0].astype(np.float32)
        use = reached & (np.abs(terms @ fit - values) < _GREY_KEY[0])
    return np.asarray(cv2.resize(terms @ fit, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _terms(x: Colours, y: Colours) -> Colours:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _from_outside(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of a region hangs together with the picture's upper edge or sides."""
    _, labels = cv2.connectedComponents(region.astype(np.uint8))
    edges = np.concatenate([labels[0], labels[:, 0], labels[:, -1]])
    return np.asarray(np.isin(labels, edges[edges > 0]), np.bool_)


def _without_islands(matte: Plane) -> Plane:
    """Without what is no person: pieces far smaller than the largest."""
    count, labels, sizes, _ = cv2.connectedComponentsWithStats((matte > _FAINT).astype(np.uint8))
    areas = sizes[:, cv2.CC_STAT_AREA]
    least = max(_SPECK * matte.size, 0.02 * float(areas[1:].max(initial=0)))
    kept = np.array([k > 0 and areas[k] >= least for k in range(count)])
    return np.where(kept[labels], matte, 0).astype(np.uint8)


def _without_holes(matte: Plane, filled: Callable[[NDArray[np.bool_], int, bool], bool]) -> Plane:
    """With those holes of the person made solid for which `filled` says so, told (which pixels, how many,
    whether it is enclosed by the person). What reaches the upper edge or a side is no hole.
    """
    out = matte.copy()
    count, labels, sizes, _ = cv2.connectedComponentsWithStats((matte < _SOLID).astype(np.uint8))
    outside = set(np.unique(np.concatenate([labels[0], labels[:, 0], labels[:, -1]])))
    bottom = set(np.unique(labels[-1]))
    for k in range(1, count):
        if k not in outside:
            hole = labels == k
            if filled(hole, int(sizes[k, cv2.CC_STAT_AREA]), k not in bottom):
                out[hole] = 255
    return out


def _ycc(rgb: Picture) -> Colours:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb), np.float32)
