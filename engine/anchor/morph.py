"""A picture between two pictures of the same presenter, without a double face.

Both are moved along the optical flow between them (DIS: Kroeger et al., "Fast Optical Flow using Dense
Inverse Search", 2016), each by its part of the way, and mixed where they meet.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.picture.yuv import Frame, planes

Plane = NDArray[np.uint8]
_Flow = NDArray[np.float32]

_LOOK_SIDE = 320  # longer side in pixels at which the flow is looked for
_LEAST_SIDE = 16  # DIS wants some pixels in either direction
_SHARP_PIXELS = 1 << 20  # larger pictures would cost too much time and have detail to spare
_CALM = 2.0  # Gaussian sigma of the flow, same pixels: it must not tear a picture at an edge


class Morph:
    """The way from one frame to another of the same size."""

    def __init__(self, start: Frame, end: Frame) -> None:
        """Find the flow between two I420 frames; some milliseconds."""
        one, other = _small(start), _small(end)
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._there, self._back = _find(search, one, other), _find(search, other, one)

    def mix(self, start: Frame, end: Frame, share: float) -> Frame:
        """The I420 picture `share` in [0, 1] of the way from `start` to `end`: the frames themselves, or with
        something drawn on them.
        """
        out = np.empty_like(start)
        three = zip((True, False, False), planes(out), planes(start), planes(end), strict=True)
        for sharp, target, one, other in three:
            target[...] = self.mix_plane(one, other, share, sharp=sharp)
        return out

    def mix_plane(self, start: Plane, end: Plane, share: float, *, sharp: bool = False) -> Plane:
        """The same for uint8 (h, w) that belong to the frames, such as their mattes; `sharp` for luma."""
        # Near the start the flow is taken where the start has it, near the end where the end has it.
        flow = np.asarray((1 - share) * self._there - share * self._back, np.float32)
        first, second = _moved(start, flow, -share, sharp), _moved(end, flow, 1 - share, sharp)
        return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0), np.uint8)


def _small(frame: Frame) -> Plane:
    luma = planes(frame)[0]
    scale = min(1.0, _LOOK_SIDE / max(luma.shape))
    height, width = (max(_LEAST_SIDE, round(side * scale)) for side in luma.shape)
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _find(search: cv2.DISOpticalFlow, start: Plane, end: Plane) -> _Flow:
    """float32 (h, w, 2): where each pixel of `start` lies in `end`, from where it is."""
    flow = search.calc(start, end, np.zeros((*start.shape, 2), np.float32))
    return np.asarray(cv2.GaussianBlur(flow, (0, 0), _CALM), np.float32)


def _moved(plane: Plane, flow: _Flow, part: float, sharp: bool) -> Plane:
    """`plane` with each pixel fetched from a `part` of the flow beside it."""
    height, width = plane.shape
    scales = (part * width / flow.shape[1], part * height / flow.shape[0])
    right, down = (
        cv2.resize(np.multiply(flow[..., axis], scale, dtype=np.float32), (width, height))
        for axis, scale in enumerate(scales)
    )
    how = cv2.INTER_CUBIC if sharp and plane.size <= _SHARP_PIXELS else cv2.INTER_LINEAR
    flags = how | cv2.WARP_RELATIVE_MAP
    return np.asarray(cv2.remap(plane, right, down, flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)
