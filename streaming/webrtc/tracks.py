"""A viewer's two tracks, fed by the session's ticks; sound and picture share the session's clock."""

import asyncio
from dataclasses import dataclass
from fractions import Fraction

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.live import Tick
from engine.speech.audio import FRAME_RATE
from streaming.mailbox import Closed, Mailbox
from streaming.webrtc.opus import PACKETS_PER_TICK, SoundPacket

VIDEO_CLOCK = 90_000
PICTURES_WAITING = 3
"""Pictures a viewer's encoder may be behind (120 ms) before the oldest is dropped."""

SOUNDS_WAITING = 6 * PACKETS_PER_TICK
_PACKET_S = 1.0 / FRAME_RATE / PACKETS_PER_TICK


@dataclass(frozen=True, slots=True)
class Beat:
    """A tick on its way out: the slot it is timed by, and its sound as Opus packets."""

    slot: int
    tick: Tick
    sound: tuple[SoundPacket, ...]


class PictureTrack(MediaStreamTrack):
    """The presenter's picture, I420 at 25 pictures a second, timed at 90 kHz by slot."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.beats: Mailbox[Beat] = Mailbox(PICTURES_WAITING)

    async def recv(self) -> av.VideoFrame:
        """The next picture; a frame of its own for each viewer, since encoders mark frames."""
        try:
            beat = await self.beats.get()
        except Closed as error:
            raise MediaStreamError from error
        frame = av.VideoFrame.from_ndarray(beat.tick.picture, format="yuv420p")
        frame.pts = beat.slot * VIDEO_CLOCK // FRAME_RATE
        frame.time_base = Fraction(1, VIDEO_CLOCK)
        return frame

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self.beats.close()


class SoundTrack(MediaStreamTrack):
    """The presenter's sound as Opus packets.

    The packets of a tick leave 20 ms apart, as if they had just been recorded: receivers see no jitter, and
    sender reports, which pair the time of sending with the media time, say the same for sound and picture.
    """

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.packets: Mailbox[tuple[float, SoundPacket]] = Mailbox(SOUNDS_WAITING)

    def put(self, beat: Beat, now: float) -> None:
        """Queue a tick's sound, the first packet due `now` (seconds of the event loop's clock)."""
        for index, packet in enumerate(beat.sound):
            self.packets.put((now + index * _PACKET_S, packet))

    async def recv(self) -> SoundPacket:
        """The next packet, when it is due; a packet revoked by an interrupt while it waited is not sent."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                due, packet = await self.packets.get()
            except Closed as error:
                raise MediaStreamError from error
            generation = self.packets.generation
            await asyncio.sleep(max(0.0, due - clock()))
            if generation == self.packets.generation:
                return packet

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self.packets.close()
