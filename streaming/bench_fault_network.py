"""A viewer and a microphone on a bad network, among viewers on a good one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from streaming.bench_clip import speech_clip
from streaming.bench_faults import (
    Command,
    Figure,
    Opened,
    at_least,
    at_most,
    open_session,
    running_show,
    status,
    told,
    until,
)
from streaming.bench_relay import FAIR, Relay, Weather
from streaming.bench_server import Server, server_command
from streaming.pacing import TICK_S
from streaming.webrtc.client import ClipTrack, Exchange, connect_peer, new_peer, publish
from streaming.webrtc.ending import close_connection

BAD = Weather(loss=0.2, jitter_s=0.2)
"""A fifth of all packets is lost, the others take up to 200 ms, and overtake each other; each way."""

_FAULT = "20 % loss, 200 ms jitter"
_FAIR_S, _BAD_S = 4.0, 12.0
_RECOVERY_S = 10.0
_SOUND_RATE = 48_000
_GOOD_SHARE = 0.95
_LOOK_S = 0.1


class Receiver:
    """A viewer as aiortc makes them: jitter buffers, packets asked for again, pictures decoded.

    `pictures` and `sounds`: when each decoded picture came, and (when, seconds of it) of each sound.
    """

    def __init__(self) -> None:
        self.pc = new_peer()
        self.pictures: list[float] = []
        self.sounds: list[tuple[float, float]] = []
        self._clock = asyncio.get_running_loop().time
        self._listeners: list[asyncio.Task[None]] = []

    async def connect(self, exchange: Exchange) -> None:
        """Begin to watch."""
        for kind in ("video", "audio"):
            self.pc.addTransceiver(kind, direction="recvonly")
        await connect_peer(self.pc, exchange)
        for receiver in self.pc.getReceivers():
            self._listeners.append(asyncio.create_task(self._listen(receiver.track)))

    async def close(self) -> None:
        """Stop watching."""
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        await close_connection(self.pc)

    async def _listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.pictures.append(self._clock())
                elif isinstance(frame, av.AudioFrame):
                    self.sounds.append((self._clock(), frame.samples / frame.sample_rate))

    def picture_share(self, start: float, end: float) -> float:
        """Pictures decoded from one moment to another, of those that were shown."""
        return sum(start <= at < end for at in self.pictures) * TICK_S / (end - start)

    def sound_share(self, start: float, end: float) -> float:
        """The same for sound."""
        return sum(length for at, length in self.sounds if start <= at < end) / (end - start)

    def longest_freeze_s(self, start: float, end: float) -> float:
        """The longest time without a new picture."""
        moments = [start, *(at for at in self.pictures if start <= at < end), end]
        return max(later - one for one, later in pairwise(moments))


async def bad_network(command: Command = server_command) -> list[Figure]:
    """Two sessions are watched through a good network; one also through a bad one, a third hears a microphone
    through a bad one.
    """
    clock = asyncio.get_running_loop().time
    async with (
        running_show(2, command, most=3, idle_close_s=600.0) as show,
        Relay() as far,
        Relay(seed=1) as mic,
    ):
        session = await open_session(show.server)
        async with (
            _receiving(far.between(show.server.exchange(show.sessions[0].whep))) as receiver,
            _speaking(mic.between(show.server.exchange(session.whip))),
        ):

            async def whole() -> bool:
                return receiver.picture_share(clock() - 1, clock()) >= _GOOD_SHARE

            await until(whole, _RECOVERY_S)
            stretch = show.stretch(more=1)
            await stretch.begin()
            backlog_before = await _backlogs(show.server, session, _FAIR_S)
            before = await stretch.end()
            far.weather = mic.weather = BAD
            await stretch.begin()
            began = clock()
            backlog = await _backlogs(show.server, session, _BAD_S)
            during, ended = await stretch.end(), clock()
            far.weather = mic.weather = FAIR
            recovered_s = await until(whole, _RECOVERY_S)
            backlog_after = await _backlogs(show.server, session, 2.0)
            alive = (await status(show.server, session))["mic"]
    return [
        told(_FAULT, "tick lateness p99, before", before.p99_ms, "ms"),
        told(_FAULT, "tick lateness p99, during", during.p99_ms, "ms"),
        at_most(_FAULT, "late ticks, share more than before", during.late_share - before.late_share, 0.01),
        at_least(_FAULT, "pictures decoded, share", receiver.picture_share(began, ended), 0.25),
        at_most(_FAULT, "longest freeze", 1000 * receiver.longest_freeze_s(began, ended), 3000, "ms"),
        told(_FAULT, "sound received, share", receiver.sound_share(began, ended)),
        at_most(_FAULT, "whole again after", 1000 * recovered_s, 3000, "ms"),
        told(_FAULT, "microphone's backlog, before, at most", max(backlog_before), "ms"),
        at_most(_FAULT, "microphone's backlog, during, at most", max(backlog), 600, "ms"),
        told(_FAULT, "microphone's backlog, after, at most", max(backlog_after), "ms"),
        Figure(_FAULT, "microphone still connected", float(alive), "", "= 1", bool(alive)),
    ]


@contextlib.asynccontextmanager
async def _receiving(exchange: Exchange) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    try:
        await receiver.connect(exchange)
        yield receiver
    finally:
        await receiver.close()


@contextlib.asynccontextmanager
async def _speaking(exchange: Exchange) -> AsyncIterator[None]:
    clip = await asyncio.to_thread(speech_clip)
    pc = await publish(ClipTrack(clip), exchange)
    try:
        yield
    finally:
        await close_connection(pc)


async def _backlogs(server: Server, session: Opened, seconds: float) -> list[float]:
    """How much sound waits in a session, in ms, looked at now and then."""
    clock = asyncio.get_running_loop().time
    end, seen = clock() + seconds, []
    while clock() < end:
        seen.append(float((await status(server, session))["backlog_ms"]))
        await asyncio.sleep(_LOOK_S)
    return seen
