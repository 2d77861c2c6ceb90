"""A visitor's microphone in a session: never spoken by the presenter, but it can make the presenter stop."""

import asyncio
from collections.abc import Awaitable, Callable

from engine.live import Tick
from engine.speech.audio import FRAME_RATE, Samples
from streaming.barge_in import BargeIn, Turn
from streaming.events import Events, SpeechStarted, SpeechStopped


class VisitorEar:
    """Listens to the visitor, tells when it speaks, and interrupts the presenter then.

    `talking` tells whether the presenter has anything to say, `interrupt` takes it back. Belongs to the
    event loop.
    """

    def __init__(
        self, events: Events, talking: Callable[[], bool], interrupt: Callable[[], Awaitable[float]]
    ) -> None:
        self._events = events
        self._talking = talking
        self._interrupt = interrupt
        self._barge_in: BargeIn | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self._slot = 0

    def enter(self) -> None:
        """A visitor comes; nothing is known of its room."""
        self._barge_in = BargeIn()

    def leave(self) -> None:
        """The visitor has gone."""
        if self._barge_in is not None and self._barge_in.speaking:
            self._events.publish(SpeechStopped(self._now))
        self._barge_in = None

    def see(self, slot: int, tick: Tick) -> None:
        """A tick has left."""
        self._slot = slot
        if self._barge_in is not None:
            self._barge_in.said(slot, tick.sound)

    def hear(self, samples: Samples) -> None:
        """Sound of the visitor's microphone."""
        if self._barge_in is None:
            return
        for turn in self._barge_in.heard(samples):
            if turn is Turn.STOPPED:
                self._events.publish(SpeechStopped(self._now))
                continue
            self._events.publish(SpeechStarted(self._now))
            if self._talking():
                self._interrupting = asyncio.create_task(self._stop(self._interrupting), name="barge-in")

    async def close(self) -> None:
        """Leave nothing behind."""
        self.leave()
        if self._interrupting is not None:
            await asyncio.wait([self._interrupting])

    @property
    def _now(self) -> float:
        return (self._slot + 1) / FRAME_RATE

    async def _stop(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        await self._interrupt()
