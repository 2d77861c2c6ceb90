"""Is something in front of the mouth: a hand, a microphone, a cup?

Face trackers go on drawing a mouth where none is to be seen, so the picture is asked. Around the lips lie
chin, cheeks and upper lip, which speech moves little and nothing recolours. They are compared, at 24x24 and
without overall changes of light, with how they usually look at about the same turn of the head; something
that comes and goes stands out. Something that is there all the time cannot be told from a beard, and is not.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Crop, Picture, extract

SIDE = 24
"""Side of the pictures that are kept of each mouth's square."""

Patches = NDArray[np.uint8]
Floats = NDArray[np.float32]

_ROWS, _COLUMNS = slice(6, 18), slice(5, 19)  # nose base to chin, cheek to cheek
_TURN = 6.0  # degrees within which heads look alike
_REACH = 1.5 * _TURN
_LEAST = 1 / 3  # share of the pictures that make the usual look; a hand may stay in front for as long
_MOST = 64  # of them that are looked at
_CHANGED = 14.0  # distance in CIELAB, 8-bit scale, that no expression and no noise reaches
_NONE, _SURE = 0.15, 0.4  # share of changed pixels above what is usual: talking stays near 0.25 for moments


def mouth_patch(frame: Picture, crop: Crop) -> Patches:
    """(SIDE, SIDE, 3) CIELAB of an RGB frame's mouth square."""
    return np.asarray(cv2.cvtColor(extract(frame, crop, SIDE), cv2.COLOR_RGB2LAB), np.uint8)


def covered(patches: Patches, turns: Floats) -> Floats:
    """How sure it is that something lies over the mouth, (n,) in [0, 1].

    `patches` (n, SIDE, SIDE, 3) are those of one person in time order, `turns` (n, 2) their yaw and pitch in
    degrees.
    """
    if not len(patches):
        return np.zeros(0, np.float32)
    shares = changed_share(patches, turns)
    sure = (shares - np.median(shares) - _NONE) / (_SURE - _NONE)
    return np.asarray(np.clip(sure, 0, 1), np.float32)


def changed_share(patches: Patches, turns: Floats) -> Floats:
    """(n,) share of the pixels around the mouth that look unlike what is usual."""
    around = patches[:, _ROWS, _COLUMNS].reshape(len(patches), -1, 3).astype(np.float32)
    steps = np.rint(turns / _TURN).astype(int)
    shares = np.zeros(len(patches), np.float32)
    for step in np.unique(steps, axis=0):
        here = np.flatnonzero((steps == step).all(axis=1))
        away = np.abs(turns - step * _TURN).max(axis=1)
        count = max(int((away <= _REACH).sum()), round(len(patches) * _LEAST), 1)
        near = np.argsort(away, kind="stable")[:count]
        usual = np.median(around[near[:: -(-len(near) // _MOST)]], axis=0)
        change = around[here] - usual
        change[..., 0] -= np.median(change[..., 0], axis=1, keepdims=True)  # a cloud, an automatic exposure
        shares[here] = (np.linalg.norm(change, axis=2) > _CHANGED).mean(axis=1)
    return shares
