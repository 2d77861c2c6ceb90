"""A picture encoder that writes slots, with a lid on it: it works when it is let."""

import threading
from collections.abc import Callable

import av
import numpy as np

from engine.picture.yuv import Frame
from streaming.encoding.base import EncodedPicture, EncodedSound

GREY = np.full((24, 16), 128, np.uint8)


class FakeEncoder:
    """Says what it was asked for; `lid` holds it back while it is clear, `fault` is raised once."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, bool]] = []
        """(slot, kbps, key frame demanded)"""
        self.threads: set[str] = set()
        self.lid = threading.Event()
        self.lid.set()
        self.fault: av.FFmpegError | None = None
        self.size = 0
        """Bytes of each picture beyond its name."""

    def encode(self, picture: Frame, slot: int, kbps: int, *, keyframe: bool) -> EncodedPicture | None:
        assert self.lid.wait(5)
        self.threads.add(threading.current_thread().name)
        first = not self.asked
        self.asked.append((slot, kbps, keyframe))
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return EncodedPicture(b"%d" % slot + bytes(self.size), slot, keyframe or first)


class Opener:
    """Opens fake encoders; keeps them."""

    def __init__(self, prepare: Callable[[FakeEncoder], None] = lambda _: None) -> None:
        self.opened: list[tuple[str, FakeEncoder]] = []
        self._prepare = prepare

    def __call__(self, codec: str, size: tuple[int, int], max_kbps: int) -> FakeEncoder:
        encoder = FakeEncoder()
        self._prepare(encoder)
        self.opened.append((codec, encoder))
        return encoder

    @property
    def last(self) -> FakeEncoder:
        return self.opened[-1][1]


class Collector:
    """A receiver that keeps everything."""

    def __init__(self) -> None:
        self.pictures: list[EncodedPicture] = []
        self.sounds: list[EncodedSound] = []
        self.cleared = 0

    @property
    def slots(self) -> list[int]:
        return [picture.slot for picture in self.pictures]

    @property
    def keys(self) -> list[int]:
        return [picture.slot for picture in self.pictures if picture.keyframe]

    def picture(self, picture: EncodedPicture) -> None:
        self.pictures.append(picture)

    def sound(self, sound: EncodedSound) -> None:
        self.sounds.append(sound)

    def clear(self) -> None:
        self.cleared += 1
