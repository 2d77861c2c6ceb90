"""What a framework's pipeline plays: pictures and the agent's sound, in order with what happens to it."""

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.live import Tick
from engine.picture.yuv import Frame
from engine.speech.audio import SAMPLES_PER_TICK
from streaming.events import Event, SpeakEnded, SpeakStarted
from streaming.pcm import PcmReader
from streaming.sessions import Session

SHOTS_WAITING = 10
"""400 ms: what a pipeline that stalls may be behind before the oldest pictures are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A tick for a pipeline. `picture` I420 uint8 (h * 3 // 2, w), read-only. `sound` int16 (n,) mono at
    16 kHz, n from 0 to 640: the part of the tick that utterances fill, none while the presenter idles.
    """

    slot: int
    picture: Frame
    sound: NDArray[np.int16]


class Reel:
    """The agent's end of a session: its speech in, shots and events out, as an async iterator.

    It is the session's only producer. An utterance's `SpeakStarted` comes before its first shot, its
    `SpeakEnded` after its last. Raises Conflict while another producer is connected.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._items: deque[Shot | Event] = deque()
        self._ready = asyncio.Event()
        self._said = asyncio.Event()
        self._taken: Shot | Event | None = None
        self._closed = False
        self._played = session.playback.played
        self._started = False
        self._ended: list[Event] = []
        self._pcm: PcmReader | None = None
        self._rate = 0
        session.feed.enter()
        session.events.listen(self._hear)
        session.on_tick.append(self._see)

    def close(self) -> None:
        """Leave the session; the iteration ends. Doing it again does nothing."""
        if self._closed:
            return
        self._session.feed.leave()
        self._session.events.forget(self._hear)
        self._session.on_tick.remove(self._see)
        self._closed = True
        self._ready.set()
        self._said.set()

    async def say(self, pcm: bytes, rate: int) -> None:
        """Sound of the open utterance, mono s16le at 8 to 48 kHz; waits while too much is unheard."""
        if self._pcm is None or rate != self._rate:
            self._pcm, self._rate = PcmReader(rate), rate
        self._session.feed.write(self._pcm.push(pcm))
        await self._session.feed.room()

    def finish(self) -> bool:
        """The open utterance is complete; whether there was one."""
        feed = self._session.feed
        if self._pcm is not None:
            feed.write(self._pcm.flush())
        was_open = feed.is_open
        if was_open:
            feed.finish()
        feed.listen()
        self._pcm = None
        return was_open

    async def clear(self) -> None:
        """Be silent at once: forget what was said and not heard, and every shot that has not left."""
        await self._session.clear_audio()
        self._session.feed.listen()
        self._pcm = None
        self._items.clear()

    async def spoken(self) -> None:
        """Wait until everything has been said, and taken from here."""
        while self._unsaid and not self._closed:
            self._said.clear()
            await self._said.wait()

    @property
    def _unsaid(self) -> bool:
        waiting = any(isinstance(item, SpeakEnded) for item in (self._taken, *self._items, *self._ended))
        return waiting or bool(self._session.feed.unheard)

    def _hear(self, event: Event) -> None:
        if isinstance(event, SpeakEnded):
            self._ended.append(event)
        else:
            self._started |= isinstance(event, SpeakStarted)
            self._put(event)

    def _see(self, slot: int, tick: Tick) -> None:
        played = min(SAMPLES_PER_TICK, self._session.playback.played - self._played)
        self._played = self._session.playback.played
        # An utterance that begins within a tick fills its end; one that ends, its beginning.
        sound = tick.sound[SAMPLES_PER_TICK - played :] if self._started else tick.sound[:played]
        self._started = False
        self._put(Shot(slot, tick.picture, sound))
        ended, self._ended = self._ended, []
        for event in ended:
            self._put(event)

    def _put(self, item: Shot | Event) -> None:
        self._items.append(item)
        if sum(isinstance(waiting, Shot) for waiting in self._items) > SHOTS_WAITING:
            self._items.remove(next(waiting for waiting in self._items if isinstance(waiting, Shot)))
        self._ready.set()

    def __aiter__(self) -> "Reel":
        return self

    async def __anext__(self) -> Shot | Event:
        # Who asks for the next has done what there was to do with the last.
        self._taken = None
        self._said.set()
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        self._taken = self._items.popleft()
        return self._taken
