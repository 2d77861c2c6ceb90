"""A viewer that decodes nothing: only the media times of what comes, and when it came."""

import asyncio
import math
from collections.abc import Callable

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

from engine.errors import KouboError
from streaming.encoding.base import SOUND_CLOCK
from streaming.webrtc.client import Exchange, Watcher
from streaming.webrtc.receive import replace_jitter_buffer
from streaming.webrtc.sending import VIDEO_CLOCK

_HALF = 1 << 31


class Stamps:
    """A jitter buffer that gives nothing out and notes RTP times (RFC 3550) against `clock`, in seconds.

    The delay of a packet is its arrival less its media time, from the first one on. The least delay of many
    packets is that of the media clock itself: what waited on the way is left out.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.count = 0
        """Different media times so far: pictures, or packets of sound."""
        self._rate = rate
        self._clock = clock
        self._last: int | None = None
        self.media = 0
        """Media time since the first packet, in 1/rate s."""
        self.longest_step = 0.0
        """The most that media time went on from one picture or packet of sound to the next, in s."""
        self._least = math.inf
        self._news = asyncio.Event()

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Note a packet."""
        if self._last is None:
            self._last = packet.timestamp
            self.count = 1
            self._news.set()
        ahead = (packet.timestamp - self._last + _HALF) % (2 * _HALF) - _HALF
        if ahead > 0:
            self.media += ahead
            self.longest_step = max(self.longest_step, ahead / self._rate)
            self._last = packet.timestamp
            self.count += 1
            self._news.set()
            ahead = 0
        self._least = min(self._least, self._clock() - (self.media + ahead) / self._rate)
        return False, None

    async def until(self, count: int) -> None:
        """Wait until so many have come."""
        while self.count < count:
            self._news.clear()
            await self._news.wait()

    def least_delay(self) -> float | None:
        """The least delay since it was asked last, in seconds on `clock`; None when nothing came."""
        least, self._least = self._least, math.inf
        return least if math.isfinite(least) else None


class StampViewer:
    """A WHEP viewer by its `pictures` and `sounds`; both begin with the same tick of the presenter."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.pictures = Stamps(VIDEO_CLOCK, clock)
        self.sounds = Stamps(SOUND_CLOCK, clock)
        self._watcher = Watcher(decode=False)
        buffers = {"video": self.pictures, "audio": self.sounds}
        for transceiver in self._watcher.pc.getTransceivers():
            if not replace_jitter_buffer(transceiver.receiver, buffers[transceiver.kind]):
                raise KouboError(
                    "Packets cannot be seen with this aiortc; install the version of the lock file."
                )

    async def connect(self, exchange: Exchange, patience_s: float = 15.0) -> float:
        """Connect and wait for a picture and a sound; returns the seconds it took. Raises KouboError."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._watcher.connect(exchange)
        try:
            async with asyncio.timeout(patience_s):
                await self.pictures.until(1)
                await self.sounds.until(1)
        except TimeoutError as error:
            raise KouboError(f"Nothing came to a viewer within {patience_s:g} s; check the log.") from error
        return clock() - began

    async def close(self) -> None:
        """Stop watching."""
        await self._watcher.close()
