"""Between the hub, which never waits, and a peer, which may: a bounded queue, and the media clock."""

import asyncio
from collections import deque
from typing import TypeAlias

from engine.speech.audio import FRAME_RATE
from streaming.encoding.base import SOUND_CLOCK, Codec, EncodedPicture, EncodedSound, SoundCodec
from streaming.encoding.hub import Attachment, EncodeHub
from streaming.outlets.wire import Placed

PICTURES_WAITING = 2 * FRAME_RATE
"""Pictures a peer may be behind (2 s) before they are dropped up to the next key frame."""

SOUNDS_WAITING = 20 * SOUND_CLOCK // 960
"""Packets of sound that may wait, 20 s of the shortest: a peer that is so far behind is given up before."""

_SLOT_CLOCK = SOUND_CLOCK // FRAME_RATE

Item: TypeAlias = EncodedPicture | EncodedSound


class PacketQueue:
    """Receives from a hub what one outlet has not yet sent.

    When it is full, pictures give way up to the next key frame, since those between could not be decoded;
    sound stays. `revocable`: an interrupt takes back what waits. Belongs to one event loop.
    """

    def __init__(self, *, revocable: bool) -> None:
        self._revocable = revocable
        self._items: deque[Item] = deque()
        self._pictures = 0
        self._ready = asyncio.Event()
        self._attachment: Attachment | None = None
        self._broken = True
        self.dropped = 0
        """Pictures that were not sent."""

    def attach(self, hub: EncodeHub, *, video: Codec, audio: SoundCodec) -> Attachment:
        """Begin to receive."""
        self._attachment = hub.attach(self, video=video, audio=audio, steady=True)
        return self._attachment

    def detach(self) -> None:
        """Receive nothing more."""
        if self._attachment is not None:
            self._attachment.detach()

    def picture(self, picture: EncodedPicture) -> None:
        """Queue a picture, unless the one before it is missing."""
        if self._broken and not picture.keyframe:
            self.dropped += 1
            return
        self._broken = False
        if self._pictures >= PICTURES_WAITING:
            self._make_room(picture)
        if not self._broken:
            self._items.append(picture)
            self._pictures += 1
        self._ready.set()

    def sound(self, sound: EncodedSound) -> None:
        """Queue a packet of sound."""
        if len(self._items) - self._pictures < SOUNDS_WAITING:
            self._items.append(sound)
            self._ready.set()

    def clear(self) -> None:
        """An interrupt. Pictures stay, as those to come depend on them; what they show is over in no time."""
        if self._revocable:
            self._items = deque(item for item in self._items if isinstance(item, EncodedPicture))

    def renew(self) -> None:
        """Forget what waits and go on with a fresh key frame: for a peer that has just come."""
        self._items.clear()
        self._pictures = 0
        self._ask()

    async def get(self) -> Item:
        """The oldest item, waiting for one."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        item = self._items.popleft()
        self._pictures -= isinstance(item, EncodedPicture)
        return item

    def _make_room(self, coming: EncodedPicture) -> None:
        """Drop the pictures before the newest key frame, or all of them where only the oldest is one."""
        keys = [item for item in self._items if isinstance(item, EncodedPicture) and item.keyframe]
        first = next(item for item in self._items if isinstance(item, EncodedPicture))
        newest = coming if coming.keyframe else keys[-1] if keys and keys[-1] is not first else None
        kept = deque(item for item in self._items if isinstance(item, EncodedSound) or _from(item, newest))
        self.dropped += len(self._items) - len(kept)
        self._items = kept
        self._pictures = sum(isinstance(item, EncodedPicture) for item in kept)
        if newest is None:
            self.dropped += 1
            self._ask()

    def _ask(self) -> None:
        self._broken = True
        if self._attachment is not None:
            self._attachment.request_keyframe()


def _from(picture: EncodedPicture, newest: EncodedPicture | None) -> bool:
    return newest is not None and picture.slot >= newest.slot


class Timeline:
    """Times of one connection: it begins at zero with a picture, and never goes back."""

    def __init__(self) -> None:
        self._base: int | None = None
        self._next_slot = 0
        self._next_sound = 0

    def place(self, item: Item) -> Placed | None:
        """The packet with its time; None for sound from before the first picture, and for what repeats."""
        if isinstance(item, EncodedPicture):
            if self._base is None:
                self._base = self._next_slot = item.slot
                self._next_sound = 0
            if item.slot < self._next_slot:
                return None
            self._next_slot = item.slot + 1
            return Placed(item.data, True, item.keyframe, item.slot - self._base, 1)
        if self._base is None:
            return None
        pts = item.pts - self._base * _SLOT_CLOCK
        if pts < self._next_sound:
            return None
        self._next_sound = pts + item.duration
        return Placed(item.data, False, True, pts, item.duration)
