"""The anchor's own detail under a drawn mouth: skin, lips and beard move along, at the anchor's resolution.

The mouth draws few pixels, softly. What it draws tells where each part of the face went and in which light
it lies; the part itself is then taken from the anchor's picture, moved there. Only what the anchor does not
show, the inside of the mouth and the like, remains as drawn.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.crop import Mask
from engine.picture.colour import Box, bound_chroma
from engine.picture.yuv import NEUTRAL, Levels, Plane

_FLOW_SMOOTH = 2.5  # Gaussian sigma of the motion, pixels of the patch
_LIGHT = 1.5  # Gaussian sigma above which the drawn picture decides: where light and shade lie
_COARSE = 5.0  # Gaussian sigma of what is light alone; between both, drawn and moved picture must agree
_MISS = (4.0, 12.0)  # levels of difference there at which the anchor begins to fail, and fails wholly
_EDGE = 1.2  # Gaussian sigma of the unsharp mask
_INSIDE = 1.0  # how much stronger still: the inside of a mouth is drawn softer than skin
_MAX_SHARPEN = 2.0
_HALO = 20.0  # levels beyond its neighbours that sharpening may push a pixel
_TONE = 5.0  # levels of U and V by which skin may change colour as it moves
_NEAR = np.ones((3, 3), np.uint8)


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


class DetailCarrier:
    """Finds how the parts of one session's face move. Not to be shared between threads."""

    def __init__(self) -> None:
        self._motion = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)

    def carry(self, drawn: Levels, idle: Levels, changed: Mask, lips: Box) -> Carried:
        """`changed` (h, w) in [0, 1] is 0 where speech changes nothing; `lips` where they are when closed, in
        pixels.
        """
        size = changed.shape[::-1]
        still = np.zeros((*changed.shape, 2), np.float32)
        found = self._motion.calc(_bytes(drawn.luma), _bytes(idle.luma), still)
        flow = (
            cv2.GaussianBlur(_halved(np.asarray(found, np.float32)) / 2, (0, 0), _FLOW_SMOOTH / 2)
            * changed[::2, ::2, None]
        )
        whole = np.asarray(cv2.resize(flow * 2, size, interpolation=cv2.INTER_LINEAR), np.float32)
        moved = Levels(_moved(idle.luma, whole), _moved(idle.chroma, flow))
        light = np.asarray(cv2.GaussianBlur(drawn.luma - moved.luma, (0, 0), _LIGHT), np.float32)
        share = _agreement(light)
        own = _sharpened(drawn.luma, moved.luma, share)
        colours = bound_chroma(drawn.chroma, moved.chroma, lips)
        tone = np.clip(cv2.blur(colours - moved.chroma, (3, 3)), -_TONE, _TONE)
        half = _halved(share)[..., None]
        own, colours = own - NEUTRAL, colours - NEUTRAL
        return Carried(flow, share, Levels(own + share * (light - own), colours + half * (tone - colours)))


def _halved(plane: Plane) -> Plane:
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def _bytes(luma: Plane) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(cv2.convertScaleAbs(np.maximum(luma, 0)), np.uint8)


def _moved(values: Plane, flow: Plane) -> Plane:
    """Each pixel's value from where the flow points."""
    where = flow.copy()
    where[..., 0] += np.arange(flow.shape[1], dtype=np.float32)
    where[..., 1] += np.arange(flow.shape[0], dtype=np.float32)[:, None]
    x, y = (np.ascontiguousarray(where[..., axis]) for axis in (0, 1))
    moved = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _agreement(apart: Plane) -> Mask:
    """1 where drawn and moved picture show the same structure, 0 where not."""
    coarse = cv2.GaussianBlur(_halved(apart), (0, 0), _COARSE / 2)
    coarse = cv2.resize(coarse, apart.shape[::-1], interpolation=cv2.INTER_LINEAR)
    miss = cv2.blur(cv2.dilate(np.abs(apart - coarse), _NEAR), (5, 5))
    low, high = _MISS
    fails = np.clip((miss - low) / (high - low), 0, 1)
    return np.asarray(1 - cv2.GaussianBlur(fails, (0, 0), 1.5), np.float32)


def _sharpened(drawn: Plane, moved: Plane, share: Mask) -> Plane:
    """The drawn picture with edges as strong as the anchor's: by as much as it is softer where both agree."""
    edges = drawn - cv2.GaussianBlur(drawn, (0, 0), _EDGE)
    true = moved - cv2.GaussianBlur(moved, (0, 0), _EDGE)
    same = share * share
    softer = np.sqrt(float(np.vdot(same, true * true)) / max(float(np.vdot(same, edges * edges)), 1e-3))
    gain = np.float32(np.clip(softer - 1 + _INSIDE, 0, _MAX_SHARPEN))
    low, high = cv2.erode(drawn, _NEAR) - _HALO, cv2.dilate(drawn, _NEAR) + _HALO
    return np.clip(drawn + gain * edges, low, high)
