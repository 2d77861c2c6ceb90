"""The presenter without its background: the picture above, its matte below, in one video."""

import asyncio

from engine.anchor.matte import Mattes, cut_out, stack
from engine.live import Tick
from engine.picture.label import LabelStyle, label_for
from engine.picture.yuv import Frame
from streaming.errors import Unprocessable


class CutOuts:
    """Cuts the presenter of one session out of its ticks. `label`: of its pictures, None for no label."""

    def __init__(self, mattes: Mattes | None, label: LabelStyle | None) -> None:
        self._mattes = mattes
        self._label = label

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
        if self._mattes is None:
            raise ValueError("this presenter has no matte")
        matte = self._mattes[tick.frame]
        picture = cut_out(tick.picture, matte)
        if self._label is not None:
            height, width = matte.shape
            label = label_for(self._label, (width, height))
            # Last, or the wall's place around it would take its colours.
            picture, matte = label.stamp_cut_out(picture, matte)
        return stack(picture, matte)
