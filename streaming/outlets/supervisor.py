"""How an outlet stands, and when it tries again. No clock, no I/O: times are arguments."""

import random
from collections.abc import Callable
from enum import StrEnum

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STABLE_S = 30.0
"""After so long on air a connection counts as good: the next fault is met as if it were the first."""

_JITTER = 0.25
"""Delays differ by this share either way, so that outlets that fell together do not return together."""


class State(StrEnum):
    """`waiting`: for the next attempt; `ended`: for good."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    ENDED = "ended"


class Supervisor:
    """The states of one outlet; `chance` gives numbers in [0, 1).

    connecting -> live or a fault; a fault -> waiting, twice as long each time, then connecting again; a final
    fault or the end -> ended.
    """

    def __init__(self, now: float, chance: Callable[[], float] = random.random) -> None:
        self.state = State.CONNECTING
        self.since = now
        """When this state began."""
        self.retry_at: float | None = None
        self.reconnects = 0
        """How often it came back on air after a fault."""
        self.error: str | None = None
        """The last fault, in one sentence; kept while it goes well again."""
        self._chance = chance
        self._faults = 0
        self._was_live = False

    def connecting(self, now: float) -> None:
        """An attempt begins."""
        self._enter(State.CONNECTING, now)

    def live(self, now: float) -> None:
        """It is on air."""
        if self.state is not State.CONNECTING:
            return
        self.reconnects += self._was_live
        self._was_live = True
        self._enter(State.LIVE, now)

    def failed(self, now: float, sentence: str, *, final: bool) -> float | None:
        """A fault; returns the seconds until the next attempt, None when there will be none."""
        self.error = sentence
        if final:
            self._enter(State.ENDED, now)
            return None
        if self.state is State.LIVE and now - self.since >= STABLE_S:
            self._faults = 0
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._faults, 16))
        delay *= 1 - _JITTER + 2 * _JITTER * self._chance()
        delay = min(LONGEST_DELAY_S, max(FIRST_DELAY_S, delay))
        self._faults += 1
        self._enter(State.WAITING, now)
        self.retry_at = now + delay
        return delay

    def ended(self, now: float) -> None:
        """Nobody wants it any more."""
        if self.state is not State.ENDED:
            self._enter(State.ENDED, now)

    def retry_in(self, now: float) -> float | None:
        """Seconds until the next attempt, while it waits for one."""
        return None if self.retry_at is None else max(0.0, self.retry_at - now)

    def _enter(self, state: State, now: float) -> None:
        self.state, self.since, self.retry_at = state, now, None
