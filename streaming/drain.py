"""The end of a server: no new sessions, running ones go on for a while, then all are closed in order."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import uvicorn

from streaming.errors import Busy

CLOSE_S = 8.0
"""Sessions have this long to close: recordings finalised, viewers told."""

HURRIED_CLOSE_S = 2.0
"""The same, once somebody has asked for an end at once."""

_RETRY_S = "10"

logger = logging.getLogger(__name__)


class Drain:
    """Whether the server is on its way out, and whether the wait for its sessions is over."""

    def __init__(self, limit_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._until: float | None = None
        self._hurried = False

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""
        return self._until is not None

    @property
    def hurried(self) -> bool:
        """Whether nobody is waited for."""
        return self._hurried

    @property
    def close_s(self) -> float:
        """Seconds that sessions have to close."""
        return HURRIED_CLOSE_S if self._hurried else CLOSE_S

    def begin(self) -> None:
        """Take no more sessions; those that run have until the limit. Doing it again changes nothing."""
        if self._until is None:
            self._until = self._clock() + self._limit_s

    def hurry(self) -> None:
        """Wait for nobody."""
        self.begin()
        self._hurried = True

    def over(self, sessions: int) -> bool:
        """Whether the wait is over, when so many sessions are in use."""
        return self._until is not None and (self._hurried or sessions == 0 or self._clock() >= self._until)

    def admit(self) -> None:
        """Let a new session in. Raises Busy while draining."""
        if self.draining:
            raise Busy(
                "This server is about to stop and takes no new sessions; ask another one or try again later.",
                {"Retry-After": _RETRY_S},
            )


class Sessions(Protocol):
    """What is waited for; `streaming.sessions.SessionTable` is the real one."""

    def __len__(self) -> int:
        """Sessions that are open."""
        ...

    @property
    def in_use(self) -> int:
        """Sessions that somebody uses, or did a moment ago."""
        ...

    async def close(self) -> None:
        """End every session."""
        ...


class DrainingServer(uvicorn.Server):
    """uvicorn, which on SIGTERM first waits for the sessions of the app.

    SIGTERM begins the drain; SIGINT, or a second SIGTERM, ends the wait; one more ends everything without
    waiting for anything. The app answers until its sessions are closed.
    """

    def __init__(self, config: uvicorn.Config, state: Callable[[], tuple[Drain, Sessions] | None]) -> None:
        """`state` gives what the app made when it started, None before."""
        super().__init__(config)
        self._state = state
        self._closing: asyncio.Task[None] | None = None
        self._closing_since = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came; only flags are set here, since it may come between any two steps."""
        state = self._state()
        if state is None or state[0].hurried:
            self.force_exit = self.should_exit = True
        elif sig == signal.SIGTERM and not state[0].draining:
            state[0].begin()
        else:
            state[0].hurry()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop serving."""
        if await super().on_tick(counter):
            return True
        state = self._state()
        if state is None or not state[0].over(state[1].in_use):
            return False
        return self._closed(*state)

    def _closed(self, drain: Drain, sessions: Sessions) -> bool:
        """Begin to close the sessions, and tell whether that is done or has taken too long."""
        now = asyncio.get_running_loop().time()
        if self._closing is None:
            logger.info("closing the sessions that are left: %d", len(sessions))
            self._closing = asyncio.create_task(sessions.close(), name="close-sessions")
            self._closing_since = now
        if self._closing.done():
            if error := self._closing.exception():
                logger.error("sessions did not close as they should", exc_info=error)
            return True
        if now - self._closing_since > drain.close_s:
            logger.error("sessions did not close within %.0f s; the server stops without them", drain.close_s)
            self._closing.cancel()
            return True
        return False
