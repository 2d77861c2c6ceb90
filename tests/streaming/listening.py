"""Helpers that look at what a viewer receives."""

import asyncio

import av
import cv2
import numpy as np
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from engine.picture.yuv import to_rgb
from streaming.webrtc.client import Watcher
from tests.streaming.conftest import eventually

Signal = NDArray[np.float64]


class Recorder:
    """Collects everything that a watcher receives until stopped."""

    def __init__(self, watcher: Watcher) -> None:
        self.pictures: list[tuple[int, float, av.VideoFrame]] = []
        """(pts at 90 kHz, time of arrival, picture)"""
        self.sounds: list[tuple[int, float, av.AudioFrame]] = []
        """(pts at 48 kHz, time of arrival, sound)"""
        self._tasks = [
            asyncio.create_task(self._record(watcher.pictures, self.pictures)),
            asyncio.create_task(self._record(watcher.sounds, self.sounds)),
        ]

    async def _record(self, track: object, into: list) -> None:  # type: ignore[type-arg]
        clock = asyncio.get_running_loop().time
        while True:
            try:
                frame = await track.recv()  # type: ignore[attr-defined]
            except MediaStreamError:
                return
            into.append((frame.pts, clock(), frame))

    async def until(self, count: int) -> None:
        """Wait for so many pictures."""
        await eventually(lambda: len(self.pictures) >= count, 30)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def loudness(self) -> dict[int, float]:
        """Loudness of the sound (RMS, 0 to 1) by tick counted from the first."""
        energy: dict[int, list[float]] = {}
        for pts, _, frame in self.sounds:
            mono = frame.to_ndarray().astype(np.float64) / 32768
            energy.setdefault(pts // 1920, []).append(float(np.mean(mono**2)))
        return {tick: float(np.sqrt(np.mean(values))) for tick, values in energy.items()}

    def gape(self) -> dict[int, float]:
        """How far the fake mouth is open (share of dark pixels in the middle) by tick from the first."""
        return {pts // 3600: _dark(frame) for pts, _, frame in self.pictures}


def _dark(frame: av.VideoFrame) -> float:
    rgb = to_rgb(np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8))
    height, width = rgb.shape[:2]
    part = rgb[height // 2 : round(height * 0.8), round(width * 0.35) : round(width * 0.65)]
    # The painted mouth is dark red; lips and skin are not dark in red.
    return float(np.mean(cv2.GaussianBlur(part, (3, 3), 0)[..., 0] < 125))


def lag(first: dict[int, float], second: dict[int, float], reach: int = 5) -> tuple[int, float]:
    """By how many ticks `second` follows `first` (negative: leads), and their correlation there."""
    best = (0, -1.0)
    for shift in range(-reach, reach + 1):
        both = [tick for tick in first if tick + shift in second]
        a = np.array([first[tick] for tick in both])
        b = np.array([second[tick + shift] for tick in both])
        if len(both) > 10 and a.std() > 0 and b.std() > 0:
            best = max(best, (shift, float(np.corrcoef(a, b)[0, 1])), key=lambda found: found[1])
    return best
