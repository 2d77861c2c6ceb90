"""A viewer's two tracks, fed with encoded pictures and sound; both share the session's clock."""

import asyncio
from collections import deque
from collections.abc import Callable

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.speech.audio import FRAME_RATE
from streaming.encoding.base import SOUND_CLOCK, EncodedPicture, EncodedSound
from streaming.encoding.opus import PACKETS_PER_TICK
from streaming.mailbox import Closed, Mailbox
from streaming.webrtc.sending import Packet, picture_packet, sound_packet

PICTURES_WAITING = 8
"""Encoded pictures a viewer may be behind (320 ms) before it goes on with the next key frame."""

SOUNDS_WAITING = 6 * PACKETS_PER_TICK
_SOUNDS_KEPT = FRAME_RATE * PACKETS_PER_TICK
_TICK_CLOCK = SOUND_CLOCK // FRAME_RATE


class PictureTrack(MediaStreamTrack):
    """The presenter's encoded pictures, timed at 90 kHz by slot.

    `request_keyframe` is called when a viewer is so far behind that pictures must be left out: those that
    follow cannot be decoded, so nothing is sent until the next key frame.
    """

    kind = "video"

    def __init__(self, request_keyframe: Callable[[], None]) -> None:
        super().__init__()
        self._request_keyframe = request_keyframe
        self._pictures: Mailbox[EncodedPicture] = Mailbox(PICTURES_WAITING)
        self._broken = False
        self.dropped = 0
        """Pictures left out."""

    def put(self, picture: EncodedPicture) -> None:
        """Queue a picture."""
        if len(self._pictures) == PICTURES_WAITING:
            self.dropped += self._pictures.clear()
            self._broken = True
            if not picture.keyframe:
                self._request_keyframe()
        if self._broken and not picture.keyframe:
            self.dropped += 1
            return
        self._broken = False
        self._pictures.put(picture)

    async def recv(self) -> Packet:
        """The next picture, as a packet that aiortc sends as it is."""
        try:
            return picture_packet(await self._pictures.get())
        except Closed as error:
            raise MediaStreamError from error

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self._pictures.close()


class SoundTrack(MediaStreamTrack):
    """The presenter's sound as Opus packets, from the media time that `begin` names.

    The packets of a tick leave 20 ms apart, as if they had just been recorded: receivers see no jitter, and
    sender reports, which pair the time of sending with the media time, say the same for sound and picture.
    """

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self._early: deque[tuple[float, EncodedSound]] = deque(maxlen=_SOUNDS_KEPT)
        self._packets: Mailbox[tuple[float, EncodedSound]] = Mailbox(SOUNDS_WAITING)

    def begin(self, pts: int) -> None:
        """Send from this media time on; what came before it is dropped."""
        self.begun = True
        for due, sound in self._early:
            if sound.pts >= pts:
                self._packets.put((due, sound))
        self._early.clear()

    def put(self, sound: EncodedSound, now: float) -> None:
        """Queue a packet of the tick that is handed out `now` (seconds of the event loop's clock)."""
        due = now + sound.pts % _TICK_CLOCK / SOUND_CLOCK
        if self.begun:
            self._packets.put((due, sound))
        else:
            self._early.append((due, sound))

    def clear(self) -> None:
        """Revoke every packet that has not left."""
        self._early.clear()
        self._packets.clear()

    async def recv(self) -> Packet:
        """The next packet, when it is due; a packet revoked by an interrupt while it waited is not sent."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                due, sound = await self._packets.get()
            except Closed as error:
                raise MediaStreamError from error
            generation = self._packets.generation
            await asyncio.sleep(max(0.0, due - clock()))
            if generation == self._packets.generation:
                return sound_packet(sound)

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self._packets.close()


class Tracks:
    """Both tracks of one connection, which begin with the same tick; a `Receiver` of the hub."""

    def __init__(self, request_keyframe: Callable[[], None]) -> None:
        self.pictures = PictureTrack(request_keyframe)
        self.sounds = SoundTrack()

    def picture(self, picture: EncodedPicture) -> None:
        """Send a picture; the first one also begins the sound."""
        if not self.sounds.begun:
            self.sounds.begin(picture.slot * _TICK_CLOCK)
        self.pictures.put(picture)

    def sound(self, sound: EncodedSound) -> None:
        """Send a packet of sound when it is due."""
        self.sounds.put(sound, asyncio.get_running_loop().time())

    def clear(self) -> None:
        """Revoke the sound that has not left. Encoded pictures still leave: the next ones build on them."""
        self.sounds.clear()

    def stop(self) -> None:
        """End both."""
        self.pictures.stop()
        self.sounds.stop()
