"""What trembles in a drawn mouth from picture to picture is damped; what moves passes at once."""

import cv2
import numpy as np

from engine.picture.yuv import Levels, Plane, ramp

_FOLLOW = 0.35  # share of a difference without motion that a tick takes over
_MOTION = (2.0, 7.0)  # levels of difference that begin to count as motion, and that count fully
_SPREAD = 3  # pixels of chroma around a moving one that move with it
_NEAR = np.ones((3, 3), np.uint8)


class Steady:
    """A recursive filter over the change that speech makes to the idle picture, in crop coordinates."""

    def __init__(self) -> None:
        self._last: tuple[slice, slice, Plane, Plane] | None = None

    def reset(self) -> None:
        """Forget the last picture."""
        self._last = None

    def settle(self, drawn: Levels, idle: Levels, rows: slice, columns: slice) -> Levels:
        """The drawn picture where it moves; nearer to the last one where it only trembles.

        `rows` and `columns`, even: which part of the crop the pictures show.
        """
        luma, chroma = drawn.luma - idle.luma, drawn.chroma - idle.chroma
        if self._last is not None:
            shift = rows.start - self._last[0].start, columns.start - self._last[1].start
            last_luma = _shifted(self._last[2], shift, luma)
            last_chroma = _shifted(self._last[3], (shift[0] // 2, shift[1] // 2), chroma)
            luma -= last_luma
            follow = _follow(luma)
            luma *= cv2.resize(follow, luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
            luma += last_luma
            chroma -= last_chroma
            chroma *= cv2.merge((follow, follow))
            chroma += last_chroma
        self._last = rows, columns, luma, chroma
        return Levels(idle.luma + luma, idle.chroma + chroma)


def _follow(apart: Plane) -> Plane:
    """(h / 2, w / 2): how much of the difference from the last picture is taken over, from `_FOLLOW` to 1."""
    half = cv2.resize(np.abs(apart), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    moved = cv2.blur(cv2.dilate(half, _NEAR), (_SPREAD, _SPREAD))
    follow = ramp(moved, *_MOTION)
    follow *= np.float32(1 - _FOLLOW)
    follow += np.float32(_FOLLOW)
    return follow


def _shifted(last: Plane, shift: tuple[int, int], now: Plane) -> Plane:
    """The last values where the present ones lie; the present ones where there are none."""
    if shift == (0, 0) and last.shape == now.shape:
        return last
    found = now.copy()
    into, of = zip(
        *(
            (slice(max(0, -by), min(new, old - by)), slice(max(0, by), min(old, new + by)))
            for by, old, new in zip(shift, last.shape[:2], now.shape[:2], strict=True)
        ),
        strict=True,
    )
    found[into] = last[of]
    return found
