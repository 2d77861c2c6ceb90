"""The sound of one producer (an agent's own voice) on its way to a session's spoken line."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count

from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.errors import Conflict
from streaming.playback import Playback

AHEAD_S = 1.0
"""Sound on the line ahead of the mouth; what waits behind it costs an interrupt nothing."""


class AudioFeed:
    """Takes utterances as fast as they come, gives them to the line a little ahead of the mouth.

    `backlog_s` tells the seconds on the line, `free` whether the line is the producer's (no text is being
    spoken). `pump` must be called after each tick. Belongs to the event loop.
    """

    def __init__(
        self, playback: Playback, backlog_s: Callable[[], float], free: Callable[[], bool], limit_s: float
    ) -> None:
        self._playback = playback
        self._backlog_s = backlog_s
        self._free = free
        self.limit_s = limit_s
        self._held: deque[tuple[str, Samples | None]] = deque()
        self._held_samples = 0
        self._open: str | None = None
        self._deaf = False
        self._numbers = count(1)
        self._names: set[str] = set()
        self._room = asyncio.Event()
        self.taken = False
        """Whether a producer is connected."""

    @property
    def held_s(self) -> float:
        """Seconds that are not on the line yet."""
        return self._held_samples / SAMPLE_RATE

    @property
    def is_open(self) -> bool:
        """Whether an utterance has begun and is not complete."""
        return self._open is not None

    @property
    def unheard(self) -> set[str]:
        """The utterances that have begun and are not over."""
        self._names = set(filter(self._playback.has, self._names))
        return self._names

    def enter(self) -> None:
        """A producer comes. Raises Conflict while another is here."""
        if self.taken:
            raise Conflict("Another producer sends its sound to this session; end it first.")
        self.taken = True

    def leave(self) -> None:
        """The producer has gone; what it sent is still spoken to its end."""
        if self._open is not None:
            self.finish()
        self._deaf = self.taken = False

    def begin(self, name: str) -> None:
        """An utterance of this name begins. Raises Conflict while another is open, or this one is unheard."""
        if self._open is not None:
            raise Conflict(f"The utterance {self._open!r} is still open; finish it first.")
        if self._playback.has(name):
            raise Conflict(f"An utterance {name!r} is still being spoken; give the next one another name.")
        self._deaf = False
        self._open = name
        self._playback.open(name)
        self._names.add(name)

    def write(self, samples: Samples) -> None:
        """Sound of the open utterance; one is begun, and numbered, when none is open.

        After an interrupt that cut the open utterance, the rest of it is ignored up to its `finish`.
        """
        if self._deaf or not samples.size:
            return
        if self._open is None:
            self.begin(self._unused())
        assert self._open is not None
        self._held.append((self._open, samples))
        self._held_samples += samples.size
        self.pump()

    def check_open(self, name: str | None) -> None:
        """Raises Conflict unless an utterance is open, of this name where one is given."""
        if not self._deaf and (self._open is None or name not in (None, self._open)):
            which = "No utterance is open" if name is None else f"The utterance {name!r} is not open"
            raise Conflict(f"{which}; finish only what was begun and not finished yet.")

    def finish(self, name: str | None = None) -> None:
        """The open utterance is complete. Raises Conflict as `check_open`."""
        self.check_open(name)
        if self._open is not None:
            self._held.append((self._open, None))
        self._open = None
        self._deaf = False
        self.pump()

    def listen(self) -> None:
        """The producer knows of the cut: the sound that follows is new."""
        self._deaf = False

    def cut(self) -> float:
        """Forget everything that is not on the line; returns the seconds of it.

        The producer may not know yet, so what it still sends of the utterance that was open is not wanted.
        """
        dropped = self.held_s
        self._deaf = self._deaf or self._open is not None
        self._open = None
        self._held.clear()
        self._held_samples = 0
        self._room.set()
        return dropped

    def pump(self) -> None:
        """Give the line what it has room for."""
        while self._held and self._free() and self._backlog_s() < AHEAD_S:
            name, samples = self._held.popleft()
            if samples is None:
                self._playback.finish(name)
            else:
                self._held_samples -= samples.size
                self._playback.push(name, samples)
        if self.held_s + self._backlog_s() < self.limit_s:
            self._room.set()

    async def room(self) -> None:
        """Wait while as much as the limit is buffered."""
        while self.held_s + self._backlog_s() >= self.limit_s:
            self._room.clear()
            await self._room.wait()

    def _unused(self) -> str:
        return next(name for number in self._numbers if not self._playback.has(name := str(number)))
