"""The presenter without its background: the picture above its matte, below, in one video."""

import asyncio

import cv2
import numpy as np

from engine.anchor.matte import Mattes, Plane, cut_out, stack
from engine.live import Tick
from engine.picture.label import LabelStyle, label_for
from engine.picture.yuv import Frame
from streaming.errors import Unprocessable


class CutOuts:
    """Cuts the presenter of one session out of its ticks. `label`: of its pictures, None for no label.

    Without `mattes`, which a presenter may lack that takes over while somebody watches, the whole picture is
    the presenter. `former`: the mattes of the presenter before, whose picture may still fade out.
    """

    def __init__(self, mattes: Mattes | None, label: LabelStyle | None, former: Mattes | None = None) -> None:
        self._mattes = mattes
        self._label = label
        self._former = former

    async def load(self) -> None:
        """Have the mattes at hand. Raises Unprocessable where the presenter has none, or AvatarError."""
        if self._mattes is None:
            raise Unprocessable(
                "This presenter has no matte, so its background cannot be taken away; prepare it with one."
            )
        await asyncio.to_thread(self._mattes.load)

    def draw(self, tick: Tick) -> Frame:
        """An unlabelled tick's picture above its matte, I420 (3 * h, w); both carry the label.

        For a worker thread, some milliseconds; after `load`.
        """
        matte = self._matte(tick)
        picture = cut_out(tick.picture, matte)
        if self._label is not None:
            height, width = matte.shape
            label = label_for(self._label, (width, height))
            # Last, or the wall's place around it would take its colours.
            picture, matte = label.stamp_cut_out(picture, matte)
        return stack(picture, matte)

    def _matte(self, tick: Tick) -> Plane:
        matte = _mixed(tick, self._mattes)
        if tick.before is None:
            return matte
        return _faded(matte, _mixed(tick.before, self._former), tick.before_share)


def _mixed(tick: Tick, mattes: Mattes | None) -> Plane:
    """The matte of a tick, while clips fade into one another mixed like its picture."""
    if mattes is None:
        rows, width = tick.picture.shape
        return np.full((rows * 2 // 3, width), 255, np.uint8)
    matte = mattes[tick.frame]
    if tick.other is None:
        return matte
    if tick.morph is None:
        return _faded(matte, mattes[tick.other], tick.other_share)
    return tick.morph.mix_plane(mattes[tick.other], matte, 1 - tick.other_share)


def _faded(matte: Plane, other: Plane, share: float) -> Plane:
    return np.asarray(cv2.addWeighted(matte, 1 - share, other, share, 0), np.uint8)
