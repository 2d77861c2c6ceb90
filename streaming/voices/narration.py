"""A whole text through a voice: piece by piece, the next one made while this one is spoken.

A voice that fails is asked once more; if that fails too, another voice goes on where there is one, and at
once where the first one hung or was slower than speech. Whatever happens is told, and the text ends: a bad
voice never holds up the presenter for long.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import VoiceError
from streaming.voices.base import Voice
from streaming.voices.spoken import speakable
from streaming.voices.text import pieces

PATIENCE_S = 5.0
"""A voice that gives nothing for this long, or falls so far behind its own speech, has failed."""

_ATTEMPTS = 2
_REST_S = 30.0
"""A voice that failed is not asked for this long where another can stand in: each failure is a silence."""

logger = logging.getLogger(__name__)


class _TooSlow(VoiceError):
    """A voice that would only cost the same patience once more."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Who is told about voices; both are called on the event loop."""

    failed: Callable[[str, str], None] = lambda voice_id, sentence: None
    """(voice, what was wrong and what follows from it)"""
    first_sound: Callable[[str, float], None] = lambda kind, seconds: None
    """(kind of voice, seconds from asking it for a piece to its first sound)"""


class Narrator:
    """Speaks texts through voices. `fallback` is the id of the voice that goes on when another fails."""

    def __init__(
        self,
        voice: Voice,
        *,
        fallback: str | None = None,
        patience_s: float = PATIENCE_S,
        witness: Witness | None = None,
    ) -> None:
        self._voice = voice
        self._fallback = fallback
        self._patience_s = patience_s
        self._witness = witness or Witness()
        self._rested: dict[str, float] = {}
        """When voices that failed may be asked again, on the event loop's clock."""

    async def narrate(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """Speech, float32 mono in [-1, 1] at 16 kHz, in order. Close it to end all work at once.

        Raises VoiceError when neither the voice nor the one that stands in for it can speak.
        """
        parts = pieces(speakable(text))
        cast = _Cast(self._awake(text, voice_id))
        making: list[_Making] = []
        try:
            for number in range(len(parts)):
                if number == len(making):
                    making.append(_Making(self._piece(parts[number], cast)))
                while (samples := await making[number].next()) is not None:
                    if number + 1 == len(making) and number + 1 < len(parts):
                        # Only now: what is heard first is made first.
                        making.append(_Making(self._piece(parts[number + 1], cast)))
                    yield samples
        finally:
            for piece in making:
                piece.task.cancel()
            await asyncio.gather(*(piece.task for piece in making), return_exceptions=True)

    async def _piece(self, text: str, cast: "_Cast") -> AsyncGenerator[Samples, None]:
        """One piece, by whichever voice speaks it."""
        spoken = 0
        while True:
            voice_id = cast.voice_id
            for attempt in range(_ATTEMPTS):
                skip = spoken
                try:
                    async with contextlib.aclosing(self._attempt(text, voice_id)) as stream:
                        async for samples in stream:
                            # What was heard before the voice broke off is not said again.
                            rest = samples[skip:]
                            skip -= samples.size - rest.size
                            spoken += rest.size
                            if rest.size:
                                yield rest
                except KouboError as error:
                    logger.info("voice %s, attempt %d: %s", voice_id, attempt + 1, error)
                    fault = error
                    if isinstance(error, _TooSlow) and self._other(text, voice_id) != voice_id:
                        break
                else:
                    return
            # The piece before this one may have found out already.
            if cast.voice_id == voice_id:
                cast.voice_id = self._stand_in(text, voice_id, fault)
            spoken = 0

    def _awake(self, text: str, voice_id: str) -> str:
        """The voice, or the one that stands in for it while it rests after a failure."""
        if self._fallback and self._rested.get(voice_id, 0.0) > asyncio.get_running_loop().time():
            return self._voice.choose(text, self._fallback)
        return voice_id

    def _stand_in(self, text: str, voice_id: str, fault: KouboError) -> str:
        """The voice that goes on, told to the witness. Raises VoiceError when there is none."""
        chosen = self._other(text, voice_id)
        if chosen == voice_id:
            self._witness.failed(voice_id, str(fault))
            raise VoiceError(str(fault)) from fault
        self._rested[voice_id] = asyncio.get_running_loop().time() + _REST_S
        self._witness.failed(voice_id, f"{fault} The voice {chosen} goes on.")
        return chosen

    def _other(self, text: str, voice_id: str) -> str:
        """Who can stand in; the voice itself where nobody can."""
        return self._voice.choose(text, self._fallback) if self._fallback else voice_id

    async def _attempt(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        """The voice's stream, which may neither fall silent nor behind what it says. Raises VoiceError."""
        clock = asyncio.get_running_loop().time
        asked, sounded, given_s = clock(), False, 0.0
        async with contextlib.aclosing(self._voice.synthesise(text, voice_id)) as stream:
            while True:
                behind = given_s > 0 and clock() > asked + given_s
                try:
                    async with asyncio.timeout_at(min(clock(), asked + given_s) + self._patience_s):
                        samples = await anext(stream, None)
                except TimeoutError as error:
                    what = "fell behind its own speech by" if behind else "gave nothing for"
                    raise _TooSlow(
                        f"The voice {voice_id} {what} {self._patience_s:g} s; "
                        "check its service or choose another voice."
                    ) from error
                if samples is None:
                    break
                if not sounded:
                    sounded = True
                    self._witness.first_sound(voice_id.partition(":")[0], clock() - asked)
                given_s += samples.size / SAMPLE_RATE
                yield samples
        if not sounded:
            raise VoiceError(f"The voice {voice_id} said nothing for a text; choose another voice.")


@dataclass(slots=True)
class _Cast:
    """Who speaks a text; changes when a voice fails, for all of what is left."""

    voice_id: str


class _Making:
    """A piece being made by a task of its own, however slowly it is taken."""

    def __init__(self, stream: AsyncGenerator[Samples, None]) -> None:
        self._stream = stream
        self._made: asyncio.Queue[Samples | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._make())

    async def _make(self) -> None:
        try:
            async with contextlib.aclosing(self._stream) as stream:
                async for samples in stream:
                    self._made.put_nowait(samples)
        finally:
            self._made.put_nowait(None)

    async def next(self) -> Samples | None:
        """The next part, None at the end. Raises what the making of it raised."""
        samples = await self._made.get()
        if samples is None:
            await self.task
        return samples
