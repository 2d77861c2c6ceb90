"""The anchor's own detail under a drawn mouth: skin, lips and beard move along, at the anchor's resolution.

The mouth draws few pixels, softly. What it draws tells where each part of the face went and in which light
it lies; the part itself is then taken from the anchor's picture, moved there. Only what the anchor does not
show, the inside of the mouth and the like, remains as drawn.
"""

import threading
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import Mask
from engine.picture.colour import Box, bound_chroma
from engine.picture.yuv import NEUTRAL, Levels, Plane, floats, ramp

_SEARCHES = 16  # of a thread, about 1 MB each
_LIGHT = 1.5  # Gaussian sigma above which the drawn picture decides: where light and shade lie
_COARSE = 5.0  # Gaussian sigma of what is light alone; between both, drawn and moved picture must agree
_MISS = (4.0, 12.0)  # levels of difference there at which the anchor begins to fail, and fails wholly
_EDGE = 1.2  # Gaussian sigma of the unsharp mask
_INSIDE = 1.0  # how much stronger still: the inside of a mouth is drawn softer than skin
_MAX_SHARPEN = 2.0
_HALO = 20.0  # levels beyond its neighbours that sharpening may push a pixel
_TONE = 5.0  # levels of U and V by which skin may change colour as it moves
_NEAR = np.ones((3, 3), np.uint8)
_NOTHING = np.zeros(4)  # what OpenCV takes for a single number


@dataclass(frozen=True, slots=True)
class Carried:
    """A drawn mouth as the anchor's own pixels, moved, plus a remainder.

    `flow` float32 (h / 2, w / 2, 2): from each pixel to where the anchor shows the same part, in its pixels.
    `share` (h, w) in [0, 1]: how much of the anchor is taken there. `rest`: what is
    added to that and to grey, NEUTRAL, where nothing is taken.
    """

    flow: Plane
    share: Mask
    rest: Levels


class _Motions(threading.local):
    """The searches for motion of one thread, by the size of the pictures: one that is given another size
    makes all its planes anew, which costs as much as the search. Else they remember nothing.
    """

    def __init__(self) -> None:
        self._searches: dict[tuple[int, ...], cv2.DISOpticalFlow] = {}

    def of(self, shape: tuple[int, ...]) -> cv2.DISOpticalFlow:
        """For pictures (h, w)."""
        search = self._searches.get(shape)
        if search is None:
            if len(self._searches) == _SEARCHES:
                del self._searches[next(iter(self._searches))]
            search = self._searches[shape] = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)
        return search


_motions = _Motions()


class DetailCarrier:
    """Finds how the parts of a face move. Safe to share between threads."""

    def carry(self, drawn: Levels, idle: Levels, changed: Mask, lips: Box) -> Carried:
        """`changed` (h, w) in [0, 1] is 0 where speech changes nothing; `lips` where they are when closed, in
        pixels.
        """
        flow = self._find(drawn.luma, idle.luma)
        flow *= _pairs(cv2.resize(changed, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST))
        moved = _moved(idle, flow)
        light = floats(cv2.GaussianBlur(drawn.luma - moved.luma, (9, 9), _LIGHT))
        share = _agreement(light)
        own = _sharpened(drawn.luma, moved.luma, share)
        own -= NEUTRAL
        light -= own
        light *= share
        light += own
        colours = bound_chroma(drawn.chroma, moved.chroma, lips)
        tone = floats(cv2.blur(colours - moved.chroma, (3, 3)))
        np.clip(tone, -_TONE, _TONE, out=tone)
        colours -= NEUTRAL
        tone -= colours
        tone *= _pairs(_halved(share))
        tone += colours
        return Carried(flow, share, Levels(light, tone))

    def _find(self, drawn: Plane, idle: Plane) -> Plane:
        """(h / 2, w / 2, 2), in its own pixels: from each to where the idle picture shows the same part."""
        one, other = (cv2.add(luma, _NOTHING, dtype=cv2.CV_8U) for luma in (drawn, idle))
        found = _motions.of(one.shape).calc(one, other, None)  # type: ignore[call-overload]
        # Two boxes of 3 are nearly a Gaussian of 1.2, at a third of its cost.
        half = floats(cv2.blur(cv2.blur(_halved(found), (3, 3)), (3, 3)))
        half *= np.float32(0.5)
        return half


def _halved(plane: Plane) -> Plane:
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def _pairs(plane: cv2.typing.MatLike) -> Plane:
    """(h, w) for both of two interleaved planes."""
    return np.asarray(cv2.merge((plane, plane)), np.float32)


def _moved(idle: Levels, flow: Plane) -> Levels:
    """Each pixel's value from where the flow, in pixels of chroma, points."""
    size = idle.luma.shape[::-1]
    right, down = (
        2 * cv2.resize(np.ascontiguousarray(flow[..., axis]), size, interpolation=cv2.INTER_LINEAR)
        for axis in (0, 1)
    )
    how = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    luma = cv2.remap(idle.luma, right, down, how, borderMode=cv2.BORDER_REPLICATE)
    pairs = np.empty(0)  # two planes of the flow are one map already
    chroma = cv2.remap(idle.chroma, flow, pairs, how, borderMode=cv2.BORDER_REPLICATE)
    return Levels(np.asarray(luma, np.float32), np.asarray(chroma, np.float32))


def _agreement(apart: cv2.typing.MatLike) -> Mask:
    """1 where drawn and moved picture show the same structure, 0 where not."""
    coarse = cv2.GaussianBlur(_halved(np.asarray(apart, np.float32)), (0, 0), _COARSE / 2)
    coarse = cv2.resize(coarse, apart.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    miss = cv2.blur(cv2.dilate(cv2.absdiff(apart, coarse), _NEAR), (5, 5))
    return 1 - floats(cv2.GaussianBlur(ramp(miss, *_MISS), (9, 9), 1.5))


def _sharpened(drawn: Plane, moved: Plane, share: Mask) -> Plane:
    """The drawn picture with edges as strong as the anchor's: by as much as it is softer where both agree."""
    edges, true = (one - cv2.GaussianBlur(one, (7, 7), _EDGE) for one in (drawn, moved))
    softer = np.sqrt(_energy(true, share) / max(_energy(edges, share), 1e-3))
    low, high = floats(cv2.erode(drawn, _NEAR)), floats(cv2.dilate(drawn, _NEAR))
    low -= _HALO
    high += _HALO
    edges *= np.float32(np.clip(softer - 1 + _INSIDE, 0, _MAX_SHARPEN))
    edges += drawn
    return np.asarray(cv2.min(cv2.max(edges, low), high), np.float32)


def _energy(edges: Plane, share: Mask) -> float:
    weighted = edges * share
    return float(np.vdot(weighted, weighted))
