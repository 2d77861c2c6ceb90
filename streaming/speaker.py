"""Texts of one session, spoken one after the other through a voice."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from engine.errors import KouboError
from engine.speech.audio import Samples
from streaming.errors import TooMany
from streaming.voices.base import Voice
from streaming.voices.narration import PATIENCE_S, Narrator, Witness

AHEAD_S = 8.0
"""Speech made ahead of the mouth; more only costs memory and work that an interrupt throws away."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    voice_id: str


class Speaker:
    """Turns queued texts into speech, never far ahead of the mouth.

    `say(samples)` takes speech, `say(None)` marks the end of a text; `backlog_s` tells the seconds not yet
    spoken. `drained` must be called after each tick, so that waiting speech goes on. `fallback`, `patience_s`
    and `witness` are those of the `Narrator`.
    """

    def __init__(
        self,
        voice: Voice,
        limit: int,
        say: Callable[[Samples | None], None],
        backlog_s: Callable[[], float],
        *,
        fallback: str | None = None,
        patience_s: float = PATIENCE_S,
        witness: Witness | None = None,
    ) -> None:
        self._voice = voice
        self._narrator = Narrator(voice, fallback=fallback, patience_s=patience_s, witness=witness)
        self._limit = limit
        self._say = say
        self._backlog_s = backlog_s
        self._texts: deque[_Text] = deque()
        self._wake = asyncio.Event()
        self._speaking: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a text is being turned into speech, or waits for it."""
        return self._speaking is not None or bool(self._texts)

    def add(self, text: str, voice_id: str | None) -> str:
        """Queue a text; returns the id of the voice that will speak it.

        Raises Unprocessable for an unknown voice, TooMany when too many texts wait.
        """
        chosen = self._voice.choose(text, voice_id)
        if len(self._texts) >= self._limit:
            raise TooMany(
                "Too many texts wait already; let some be spoken, or interrupt.", {"Retry-After": "5"}
            )
        self._texts.append(_Text(text, chosen))
        self._wake.set()
        return chosen

    def clear(self) -> None:
        """Forget every text, the one being spoken included."""
        self._texts.clear()
        if self._speaking is not None:
            self._speaking.cancel()

    def drained(self) -> None:
        """The mouth has spoken a little: speech that waited may go on."""
        if self._backlog_s() < AHEAD_S:
            self._wake.set()

    async def run(self) -> None:
        """Speak what is queued, until cancelled."""
        try:
            while True:
                while not self._texts:
                    await self._sleep()
                self._speaking = asyncio.create_task(self._speak(self._texts.popleft()))
                await asyncio.wait([self._speaking])
                self._speaking = None
        finally:
            if self._speaking is not None:
                self._speaking.cancel()
                await asyncio.wait([self._speaking])

    async def _sleep(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    async def _speak(self, item: _Text) -> None:
        try:
            async with aclosing(self._narrator.narrate(item.text, item.voice_id)) as speech:
                async for samples in speech:
                    self._say(samples)
                    while self._backlog_s() >= AHEAD_S:
                        await self._sleep()
        except KouboError as error:
            logger.warning("a text was not spoken to its end: %s", error)
        self._say(None)
