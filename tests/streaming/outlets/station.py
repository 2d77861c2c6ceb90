"""A real hub that sends a test card: each picture shows its slot, each second begins with a beep.

And what looks at it again after it has been through an outlet.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK
from streaming.drawing import Workers
from streaming.encoding.base import EncodedPicture, EncodedSound
from streaming.encoding.hub import EncodeHub

SIZE = (160, 128)
BEEP_TICKS = 5
_BITS = 16
_BLOCK = 32
_BLACK, _WHITE = 40, 210


def card(slot: int) -> Frame:
    """I420 with the slot in sixteen blocks, the lowest bit first."""
    width, height = SIZE
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    for bit in range(_BITS):
        row, column = divmod(bit, 4)
        level = _WHITE if slot >> bit & 1 else _BLACK
        picture[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK] = level
    return picture


def read_card(frame: av.VideoFrame) -> int:
    """The slot that a picture shows; fails when it cannot be read for sure."""
    picture = frame.to_ndarray(format="gray")
    slot = 0
    for bit in range(_BITS):
        row, column = divmod(bit, 4)
        block = picture[
            row * _BLOCK + 8 : (row + 1) * _BLOCK - 8, column * _BLOCK + 8 : (column + 1) * _BLOCK - 8
        ]
        level = float(block.mean())
        assert abs(level - _BLACK) < 40 or abs(level - _WHITE) < 40, f"bit {bit} is {level}"
        slot |= (level > (_BLACK + _WHITE) / 2) << bit
    return slot


def beep(slot: int) -> NDArray[np.int16]:
    """The sound of a slot: 1 kHz during the first ticks of each second, else silence."""
    time = (slot * SAMPLES_PER_TICK + np.arange(SAMPLES_PER_TICK)) / 16_000
    loud = slot % FRAME_RATE < BEEP_TICKS
    return np.asarray(np.rint(12_000 * np.sin(2 * np.pi * 1000 * time) * loud), np.int16)


class Noted:
    """A receiver that remembers which pictures there were."""

    def __init__(self) -> None:
        self.slots: list[int] = []

    def picture(self, picture: EncodedPicture) -> None:
        self.slots.append(picture.slot)

    def sound(self, sound: EncodedSound) -> None:
        """It asked for none."""

    def clear(self) -> None:
        """What was made stays made."""


class Station:
    """Feeds a hub in real time, or `speed` times as fast, until it is left."""

    def __init__(self, speed: float = 1.0, first_slot: int = 1000) -> None:
        self._workers = Workers(2)
        self.hub = EncodeHub(SIZE, 400, self._workers)
        self.slot = first_slot
        self.lateness: list[float] = []
        """How late each tick was, in seconds: what an outlet must not add to."""
        self._noted = Noted()
        self._tick_s = 1 / FRAME_RATE / speed
        self._task: asyncio.Task[None] | None = None

    def note_pictures(self) -> None:
        """Note from now on what the encoder makes: on a busy machine it leaves pictures out."""
        self.hub.attach(self._noted, video="h264", audio=None)

    def made_between(self, first: int, last: int) -> list[int]:
        """The slots of the noted pictures from one slot to another."""
        return [slot for slot in self._noted.slots if first <= slot <= last]

    async def __aenter__(self) -> "Station":
        self._task = asyncio.create_task(self._run(), name="station")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.hub.close()
        self._workers.close()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await asyncio.sleep(max(0.0, due - clock()))
            self.lateness.append(clock() - due)
            self.hub.show(self.slot, card(self.slot), self.hub.encode_sound(beep(self.slot), self.slot))
            self.slot += 1
            due += self._tick_s


@dataclass(frozen=True, slots=True)
class Seen:
    """What came out: (media time in s, slot) of each picture, and when each beep began, in s."""

    pictures: list[tuple[float, int]]
    beeps: list[float]
    metadata: dict[str, str]

    @property
    def slots(self) -> list[int]:
        """The slots of the pictures, in order."""
        return [slot for _, slot in self.pictures]

    @property
    def offsets(self) -> list[float]:
        """For each beep with its picture, how much later the sound is, in seconds."""
        starts = [time for time, slot in self.pictures if slot % FRAME_RATE == 0]
        found = []
        for time in self.beeps:
            nearest = min(starts, key=lambda start: abs(start - time), default=None)
            if nearest is not None and abs(nearest - time) < 0.4:
                found.append(time - nearest)
        return found


def look(path: Path) -> Seen:
    """Decode a file to its end, pictures and sound."""
    pictures: list[tuple[float, int]] = []
    samples: list[NDArray[np.float32]] = []
    times: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode():
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                pictures.append((frame.time, read_card(frame)))
            elif isinstance(frame, av.AudioFrame):
                samples.append(frame.to_ndarray()[0].astype(np.float32))
                times.append(frame.time)
        metadata = dict(container.metadata)
    return Seen(sorted(pictures), beeps(samples, times), metadata)


def beeps(samples: list[NDArray[np.float32]], times: list[float], rate: int = 48_000) -> list[float]:
    """When the sound rises out of at least 0.3 s of silence; blocks of samples with the time of each."""
    found = []
    quiet_since = -1.0
    for block, start in zip(samples, times, strict=True):
        for at in range(0, block.size - 47, 48):
            now = start + at / rate
            if np.abs(block[at : at + 48]).max() > 0.08:
                if quiet_since >= 0 and now - quiet_since > 0.3:
                    found.append(now)
                quiet_since = -1.0
            elif quiet_since < 0:
                quiet_since = now
    return found
