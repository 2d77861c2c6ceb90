"""The parts of a simulated show that only draw, as cheap as can be, and who receives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.anchor.crop import Mask, Picture
from engine.anchor.fitted import FittedAvatar
from engine.live import LiveAvatar
from engine.mouth.runtime import Features, WholeSquare
from engine.mouth.sheet import read_sheet
from engine.picture.fit import Size
from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE
from engine.speech.mel import Mel
from streaming.cast import EngineCast, Part, Role
from streaming.encoding.base import SOUND_CLOCK, Codec, EncodedPicture, EncodedSound
from streaming.library import Loaded

CANVAS = (96, 96)
_PASTED = 8


class ColourMouth(WholeSquare):
    """A mouth of one colour, which costs nothing to draw."""

    name = "simulated"
    precision = "u8"

    def __init__(self, folder: Path) -> None:
        """Of the size of the mouth in `folder`, which is not opened."""
        self.size = read_sheet(folder).size

    def encode(self, faces: Picture) -> list[Features]:
        """Nothing is kept of a face."""
        return [(number,) for number in range(len(faces))]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Darker where it is louder."""
        levels = np.clip(120 + 20 * mels.mean(axis=(1, 2)), 0, 255).astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (len(mels), self.size, self.size, 3))


class SmallAvatar(FittedAvatar):
    """A presenter in a small picture, whose mouth is pasted on every eighth of its frames only."""

    def mask(self, index: int) -> Mask:
        """As the original's, or empty."""
        mask = super().mask(index)
        return mask if index % _PASTED == 0 else np.zeros_like(mask)


class SmallCast(EngineCast):
    """The shipped presenters, all of them small."""

    def __init__(self) -> None:
        super().__init__(ColourMouth)
        self._small: dict[str, Loaded] = {}

    async def enter(self, name: str | None) -> Part:
        """As the engine's, small."""
        role = await self.role(name or self.list()[0].name, CANVAS)
        return Part(LiveAvatar(role.loaded.avatar, role.loaded.features, role.loaded.mouth), role)

    async def role(self, name: str, canvas: Size) -> Role:
        """As the engine's, small; made once."""
        if name not in self._small:
            loaded = (await super().enter(name)).role.loaded
            self._small[name] = replace(loaded, avatar=SmallAvatar(loaded.avatar, canvas))
        return self._role(name, self._small[name])


class NoEncoder:
    """Gives a few bytes for each picture."""

    name = "none"

    def __init__(self, codec: Codec, size: Size, kbps: int) -> None:
        """As any encoder is opened."""

    def encode(self, picture: Frame, slot: int, kbps: int, *, keyframe: bool) -> EncodedPicture:
        """Bytes that nobody decodes."""
        return EncodedPicture(bytes(picture[0, :64]), slot, keyframe)


@dataclass
class MediaClock:
    """Compares the media time of what it gets with the clock."""

    clock: Callable[[], float]
    began: float
    pictures: int = 0
    sounds: int = 0
    picture_delay: float | None = None
    sound_delay: float | None = None
    furthest: float = 0.0
    """The most that sound and picture of a moment were apart, in s."""

    def picture(self, picture: EncodedPicture) -> None:
        """Note a picture."""
        self.pictures += 1
        delay = self.clock() - self.began - picture.slot / FRAME_RATE
        self.picture_delay = delay if self.picture_delay is None else min(self.picture_delay, delay)

    def sound(self, sound: EncodedSound) -> None:
        """Note a packet; the second of a tick is handed out with the first."""
        self.sounds += 1
        delay = self.clock() - self.began - sound.pts // (SOUND_CLOCK // FRAME_RATE) / FRAME_RATE
        self.sound_delay = delay if self.sound_delay is None else min(self.sound_delay, delay)

    def clear(self) -> None:
        """What was handed out is noted already."""

    def take(self) -> tuple[float | None, float | None]:
        """The least delays since they were taken last, in s."""
        taken = self.picture_delay, self.sound_delay
        self.picture_delay = self.sound_delay = None
        return taken
